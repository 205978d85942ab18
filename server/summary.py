"""The end of a run: its adaptor and its figures, all read from the run folder's own tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fedretune.evaluation import RULES
from fedretune.metrics import macro
from fedretune.metrics.forgetting import summarise, summarise_findings
from scenarios import RunConfig
from server.folder import RunFolder, write_json
from server.handshake import Terms
from server.record import NOISED, SUPPRESSED
from server.steps import BEFORE

#: A column of ``measures.csv``, each a figure of the summary.
MEASURES = ("average_precision", "f1", "ece")
#: How many reasons for leaving a site's replies out are told; ``sites.csv`` has them all.
REASONS = 3


def write_summary(
    folder: RunFolder,
    config: RunConfig,
    terms: Terms,
    sites: list[str],
    first_trained: Mapping[str, int] | None = None,
) -> None:
    """Write ``summary.json`` of a finished run.

    Its figures are those of `fedretune.metrics.forgetting.FORMULAS`, null where they are undefined.
    ``final_auroc`` is of what the run evaluated last: the untrained adaptor or the frozen model,
    where nothing was trained. The measures are of it too: macro over findings, then the mean over
    experiences.

    Parameters
    ----------
    folder, config, terms, sites
    first_trained : Mapping[str, int] | None (default: None)
        For each finding the step of the stream that first trains it; a finding that is never
        trained is not in it. None: all are from the first step on.
    """
    since = dict.fromkeys(terms.findings, 0) if first_trained is None else first_trained
    pooled = _read(folder, "auroc.csv")
    by_scoring = _by_scoring(folder, pooled, since)
    summary: dict[str, Any] = {
        "status": "complete",
        "scenario": config.scenario,
        "method": config.method,
        "sites": sites,
        "experiences": terms.experiences,
        "rounds": config.rounds,
        "seed": config.seed,
        **by_scoring["difference"],
        "undefined_findings": _undefined(pooled),
        "by_scoring": by_scoring,
        **_traffic(folder),
        "quarantined": _quarantined(folder),
        "suppressed_cells": _suppressed(folder),
        "noised_counts": _noised(folder),
        **_privacy(folder, config),
        "wall_seconds": round(folder.seconds(), 3),
    }
    write_json(folder.path / "summary.json", summary)


def write_failure(folder: RunFolder, reason: str) -> None:
    """Write ``summary.json`` of a run that stopped, with the reason."""
    summary = {"status": "failed", "reason": reason, "wall_seconds": round(folder.seconds(), 3)}
    write_json(folder.path / "summary.json", summary)


def _read(folder: RunFolder, name: str) -> pd.DataFrame:
    """Read the pooled rows of a table. Only an empty cell is undefined, and a name is a text."""
    names = {"site": str, "finding": str}
    table = pd.read_csv(folder.path / name, dtype=names, keep_default_na=False, na_values=[""])
    return table[table["site"] == "pooled"] if "site" in table else table


def _of(table: pd.DataFrame, rule: str) -> pd.DataFrame:
    return table[table["scoring"] == rule]


def _by_scoring(
    folder: RunFolder, pooled: pd.DataFrame, since: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Return all figures of each scoring rule."""
    findings, measures = _read(folder, "findings.csv"), _read(folder, "measures.csv")
    return {
        rule: {
            **_figures(_of(pooled, rule)),
            **_by_finding(_of(findings, rule), since),
            **_at_the_end(_of(measures, rule)),
        }
        for rule in RULES
    }


def _figures(pooled: pd.DataFrame) -> dict[str, Any]:
    """Return the macro AUROC after each experience and the design's figures made of it."""
    frozen, untrained, trained = _stages(pooled, "experience")
    last = trained if len(trained) else untrained if len(untrained) else frozen
    figures = summarise(last, untrained[0] if len(untrained) else None)
    return {
        "zero_shot_auroc": _json(float(macro(frozen, axis=(0, 1)))),
        "untrained_auroc": _json(float(macro(untrained, axis=(0, 1)))),
        "final_auroc": _json(figures.final),
        "forgetting": _json(figures.forgetting),
        "backward_transfer": _json(figures.backward_transfer),
        "forward_transfer": _json(figures.forward_transfer),
        "zero_shot_by_experience": [_json(value) for row in frozen for value in row],
        "auroc_after_experience": [[_json(value) for value in row] for row in trained],
    }


def _by_finding(table: pd.DataFrame, since: Mapping[str, int]) -> dict[str, Any]:
    """Return what became of each finding since it was first trained, in the mean."""
    trained = _stages(table, "finding")[2]
    if not len(trained):
        return {"trained_final_auroc": None, "finding_forgetting": None}
    figures = summarise_findings(trained, [since.get(f, -1) for f in table["finding"].unique()])
    return {
        "trained_final_auroc": _json(figures.trained_final),
        "finding_forgetting": _json(figures.forgetting),
    }


def _at_the_end(measures: pd.DataFrame) -> dict[str, float | None]:
    """Return the other measures of what was evaluated last."""
    adapted = measures[measures["model"] == "adapted"]
    latest = adapted if len(adapted) else measures
    rows = latest[latest["after_experience"] == latest["after_experience"].max()]
    means = rows.groupby("experience")[list(MEASURES)].mean().mean()
    return {name: _json(means[name]) for name in MEASURES}


def _stages(table: pd.DataFrame, by: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the AUROC of the frozen model, of the untrained adaptor, and after each step.

    Each is ``[rows, experiences]`` or ``[rows, findings]``, as `by` says; a mean of what else
    there is. A model that was not evaluated has no row.
    """
    columns = table[by].unique()
    means = table.groupby(["model", "after_experience", by])["auroc"].mean().unstack(by)[columns]
    model, after = (means.index.get_level_values(level) for level in (0, 1))
    adapted = model == "adapted"
    return (
        means[model == "zero-shot"].to_numpy(),
        means[adapted & (after == BEFORE)].to_numpy(),
        means[adapted & (after > BEFORE)].to_numpy(),
    )


def _undefined(pooled: pd.DataFrame) -> dict[str, list[int]]:
    """Return the findings without a pooled AUROC, with the experiences where it lacks."""
    lacking = pooled[pooled["auroc"].isna()]
    return {
        str(finding): sorted({int(value) for value in rows["experience"]})
        for finding, rows in lacking.groupby("finding", sort=False)
    }


def _traffic(folder: RunFolder) -> dict[str, Any]:
    traffic = pd.read_csv(folder.path / "traffic.csv")
    rounds = traffic[traffic["round"] >= 0].groupby(["direction", "experience", "round", "site"])
    means = rounds["bytes"].sum().groupby("direction").mean()
    totals = traffic.groupby("direction")["bytes"].sum()
    return {
        "bytes_up_per_site_round": round(float(means.get("up", 0.0)), 1),
        "bytes_down_per_site_round": round(float(means.get("down", 0.0)), 1),
        "bytes_up": int(totals.get("up", 0)),
        "bytes_down": int(totals.get("down", 0)),
    }


def _quarantined(folder: RunFolder) -> list[dict[str, Any]]:
    """Return for each site and status what was left out, how often, and why at most."""
    sites = pd.read_csv(folder.path / "sites.csv", keep_default_na=False, dtype={"site": str})
    left_out = sites[~sites["status"].isin(["joined", "trained", "no-images", SUPPRESSED, NOISED])]
    return [
        {"site": site, "status": status, "times": len(rows), "reasons": _commonest(rows["reason"])}
        for (site, status), rows in left_out.groupby(["site", "status"])
    ]


def _suppressed(folder: RunFolder) -> dict[str, int]:
    """Return by site how many cells of its histograms were sent as 0, over all evaluations."""
    cells: dict[str, int] = {}
    for row in folder.read("sites.csv"):
        if row["status"] == SUPPRESSED:
            cells[row["site"]] = cells.get(row["site"], 0) + int(row["reason"].split()[0])
    return cells


def _noised(folder: RunFolder) -> dict[str, float]:
    """Return by site the scale of the noise in the counts of its histograms."""
    return {
        row["site"]: float(row["reason"].split()[0])
        for row in folder.read("sites.csv")
        if row["status"] == NOISED
    }


def _privacy(folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    """Return what the site that spent most says that it has spent; nothing where none hides."""
    if not config.privacy.on:
        return {}
    rows = list(folder.read("privacy.csv"))
    return {
        "epsilon": max((float(row["epsilon"]) for row in rows), default=0.0),
        "delta": config.privacy.delta,
        "privacy_unit": config.privacy.hidden,
        "noise_sources": sorted({row["source"] for row in rows}),
    }


def _commonest(reasons: "pd.Series[str]") -> list[str]:
    """Return the most common reasons first, no more than `REASONS` of them."""
    return [str(reason) for reason in reasons.value_counts().index[:REASONS]]


def _json(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
