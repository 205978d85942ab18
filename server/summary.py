"""The end of a run: its adaptor and its figures, all read from the run folder's own tables."""

from typing import Any

import numpy as np
import pandas as pd

from fedretune.adaptors import AdaptorSpec, save
from fedretune.evaluation import RULES
from fedretune.metrics.forgetting import summarise
from scenarios import RunConfig
from server.federation import Terms
from server.folder import RunFolder, write_json
from server.stream import BEFORE, Arrays


def write_summary(folder: RunFolder, config: RunConfig, terms: Terms, sites: list[str]) -> None:
    """Write ``summary.json`` of a finished run."""
    pooled = pd.read_csv(folder.path / "auroc.csv").query("site == 'pooled'")
    summary: dict[str, Any] = {
        "status": "complete",
        "scenario": config.scenario,
        "method": config.method,
        "sites": sites,
        "experiences": terms.experiences,
        "rounds": config.rounds,
        "seed": config.seed,
        **_figures(pooled, "difference"),
        "undefined_findings": _undefined(pooled),
        "by_scoring": {rule: _figures(pooled, rule) for rule in RULES},
        **_traffic(folder),
        "quarantined": _quarantined(folder),
        "wall_seconds": round(folder.seconds(), 3),
    }
    write_json(folder.path / "summary.json", summary)


def write_failure(folder: RunFolder, reason: str) -> None:
    """Write ``summary.json`` of a run that stopped, with the reason."""
    summary = {"status": "failed", "reason": reason, "wall_seconds": round(folder.seconds(), 3)}
    write_json(folder.path / "summary.json", summary)


def write_adaptors(folder: RunFolder, spec: AdaptorSpec, arrays: Arrays, config: RunConfig) -> None:
    """Write ``adaptors.safetensors``: the global adaptor and what it needs to be used again."""
    metadata = {"backbone": config.backbone, "prompts": config.prompts, "pooling": config.pooling}
    save(folder.path / "adaptors.safetensors", spec, dict(arrays), metadata)


def _figures(pooled: pd.DataFrame, rule: str) -> dict[str, Any]:
    """Return the macro AUROC after each experience and the design's figures made of it."""
    table = (
        pooled[pooled["scoring"] == rule]
        .groupby(["model", "after_experience", "experience"])["auroc"]
        .mean()
        .unstack("experience")
    )
    after = table.loc["adapted"]
    trained = after.loc[after.index > BEFORE].to_numpy()
    figures = summarise(trained)
    return {
        "zero_shot_auroc": _json(np.nanmean(table.loc["zero-shot"].to_numpy())),
        "untrained_auroc": _json(np.nanmean(after.loc[BEFORE].to_numpy())),
        "final_auroc": _json(figures.final),
        "forgetting": _json(figures.forgetting),
        "backward_transfer": _json(figures.backward_transfer),
        "zero_shot_by_experience": [_json(value) for value in table.loc["zero-shot"].iloc[0]],
        "auroc_after_experience": [[_json(value) for value in row] for row in trained],
    }


def _undefined(pooled: pd.DataFrame) -> dict[str, list[int]]:
    """Return the findings without a pooled AUROC, with the experiences where it lacks."""
    lacking = pooled[pooled["auroc"].isna()]
    return {
        str(finding): sorted({int(value) for value in rows["experience"]})
        for finding, rows in lacking.groupby("finding", sort=False)
    }


def _traffic(folder: RunFolder) -> dict[str, Any]:
    traffic = pd.read_csv(folder.path / "traffic.csv")
    up = traffic[(traffic["kind"] == "train") & (traffic["direction"] == "up")]
    totals = traffic.groupby("direction")["bytes"].sum()
    return {
        "bytes_up_per_site_round": round(float(up["bytes"].mean()), 1) if len(up) else 0.0,
        "bytes_up": int(totals.get("up", 0)),
        "bytes_down": int(totals.get("down", 0)),
    }


def _quarantined(folder: RunFolder) -> list[dict[str, Any]]:
    sites = pd.read_csv(folder.path / "sites.csv", keep_default_na=False)
    found = sites[~sites["status"].isin(["joined", "trained", "no-images"])]
    return [{str(k): _plain(v) for k, v in row.items()} for row in found.to_dict("records")]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _json(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
