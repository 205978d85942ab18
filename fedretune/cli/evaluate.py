"""Evaluate a run's adaptors again, from exact scores rather than from histograms."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fedretune.adaptors import Model, build, load, load_arrays
from fedretune.cli.app_folder import AppFolder
from fedretune.errors import UserError
from fedretune.evaluation import RULES


def evaluate_run(app: AppFolder, run: Path) -> dict[str, Any]:
    """Return the run's final figures beside those of its adaptors, scored anew and exactly.

    Parameters
    ----------
    app : AppFolder
    run : Path
        The folder of a finished run.

    Returns
    -------
    dict
        By scoring rule: ``run`` and ``exact``, macro AUROC on each experience (None: undefined),
        and ``largest_difference`` over all findings and experiences.

    Raises
    ------
    UserError
        The run is not there, not finished, or its images or backbone have changed since.
    """
    try:
        tables = tomllib.loads((run / "config.toml").read_text())
    except OSError as error:
        raise UserError(f"{run} is not a run folder: it has no config.toml.") from error
    config = app.module("scenarios").RunConfig.from_flat(tables["config"])
    world = app.module("clients.world").make_world(config, config.sites)
    if world.embeddings.info.fingerprint != tables["fingerprints"]["backbone"]:
        raise UserError(f"The backbone '{config.backbone}' is not the one that {run} used.")
    models = {site: _model(app, run, config, site) for site in world.scenario.sites}
    exact = _exact(world, models)
    recorded = _recorded(run / "auroc.csv", world.scenario)
    return {rule: _compared(recorded[r], exact[r]) for r, rule in enumerate(RULES)}


def print_evaluation(console: Console, result: dict[str, Any]) -> None:
    """Print `evaluate_run`'s result as a table."""
    table = Table(title="Pooled macro AUROC of the final adaptors")
    table.add_column("scoring")
    table.add_column("from")
    for experience in range(len(result[RULES[0]]["run"])):
        table.add_column(f"{experience + 1}", justify="right")
    for rule, figures in result.items():
        for source, name in (("run", "the run's histograms"), ("exact", "exact scores, now")):
            values = ["-" if value is None else f"{value:.4f}" for value in figures[source]]
            table.add_row(rule, name, *values)
    console.print(table)
    for rule, figures in result.items():
        console.print(f"{rule}: largest difference {figures['largest_difference']:.5f}")


def _model(app: AppFolder, run: Path, config: Any, site: str) -> Model | None:
    """Return what a site ended with: its own adaptor, the global one, or none (zero-shot)."""
    if config.how.order == "zero-shot":
        return None
    own: Path = app.module("server.models").own_file(run, site)
    spec, arrays, _ = load(own if own.is_file() else run / "adaptors.safetensors")
    model = build(spec, seed=0)
    load_arrays(model, arrays)
    return model


def _exact(world: Any, models: Mapping[str, Model | None]) -> np.ndarray:
    """Return AUROC [rules, experiences, findings] of all sites' evaluation images."""
    import torch

    from fedretune.metrics import exact_auroc
    from fedretune.objectives.difference import scores

    scenario, config = world.scenario, world.config
    found = {rule: np.full(world.labels.shape, np.nan) for rule in RULES}
    for site, model in models.items():
        rows = scenario.rows(site, config.evaluation_split)
        parts = [
            scores(model, images, world.prompts, config.pooling)
            for images in world.shown(rows, model is None)
        ]
        for rule in RULES:
            found[rule][rows] = torch.cat([each[rule] for each in parts]).numpy()
    values = np.full((len(RULES), scenario.experiences, world.labels.shape[1]), np.nan)
    for e in range(scenario.experiences):
        here = (scenario.experience == e) & (scenario.split == config.evaluation_split)
        for r, rule in enumerate(RULES):
            values[r, e] = exact_auroc(found[rule][here], world.labels[here])
    return values


def _recorded(path: Path, scenario: Any) -> np.ndarray:
    """Return AUROC [rules, experiences, findings] of the last evaluation, from the run."""
    import pandas as pd

    table = pd.read_csv(path)
    pooled = table[table["site"] == "pooled"]
    last = pooled.iloc[-1]
    rows = pooled[
        (pooled["model"] == last["model"])
        & (pooled["after_experience"] == last["after_experience"])
    ]
    pivot = rows.set_index(["scoring", "experience", "finding"])["auroc"]
    keys = pd.MultiIndex.from_product([RULES, range(scenario.experiences), scenario.findings])
    shape = (len(RULES), scenario.experiences, len(scenario.findings))
    recorded: np.ndarray = pivot.reindex(keys).to_numpy().reshape(shape)
    return recorded


def _compared(recorded: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    from fedretune.metrics import macro

    differences = np.abs(recorded - exact)
    return {
        "run": [_json(value) for value in macro(recorded)],
        "exact": [_json(value) for value in macro(exact)],
        "largest_difference": float(np.nanmax(differences)) if differences.size else 0.0,
    }


def _json(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
