"""``fedretune study lora --federated``: its cells as simulations over sites and experiences."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedretune.cli import runs
from fedretune.cli.app_folder import AppFolder
from fedretune.cli.study_runs import run_all, shared_keys
from fedretune.errors import UserError
from fedretune.study.lora.datasets import data_set
from fedretune.study.lora.plan import LoraCell
from fedretune.study.lora.recipes import Recipe

if TYPE_CHECKING:
    from fedretune.study.lora.report import LoraReport

Configs = Mapping[LoraCell, dict[str, Any]]
Recipes = Mapping[LoraCell, Recipe]


def prepare(
    app: AppFolder,
    recipes: Recipes,
    base: Mapping[str, Any],
    backbones: Mapping[str, str],
    out: Path,
    blocks: int,
) -> Configs:
    """Return every cell's resolved config, checked, with all images encoded.

    Raises
    ------
    UserError
        A cell cannot be, such as one with fewer patients than sites and experiences.
    """
    from fedretune.study.lora.federated import settings_of
    from fedretune.study.lora.manifests import manifest_path

    config_of = app.module("scenarios").RunConfig.from_flat
    shared = {"out": str(out / "runs"), "workers": 1}  # runs are side by side already
    configs = {}
    for cell, recipe in recipes.items():
        manifest = str(manifest_path(out / "manifests", data_set(cell.data), cell.ratio))
        keys = settings_of(cell, recipe, base, backbones[cell.model], manifest, blocks)
        configs[cell] = config_of({**keys, **shared}).to_flat()
    for cell in _each_once(configs):
        try:
            runs.make_data(app, configs[cell])
        except UserError as error:
            raise UserError(f"{cell.name}: {error}") from error
    return configs


def _each_once(configs: Configs) -> list[LoraCell]:
    """Return a cell for each of what is encoded: a model's tokens, or vectors, of a manifest."""
    found = {
        (cell.model, config["manifest"], config["adaptor.kind"] == "head"): cell
        for cell, config in configs.items()
    }
    return list(found.values())


def run(
    app: AppFolder, configs: Configs, out: Path, jobs: int
) -> tuple["LoraReport", dict[str, str]]:
    """Run what is not done; return the report, and why some failed."""
    from fedretune.study.lora.report import LoraReport

    report = LoraReport(out, [cell.name for cell in configs], _about(app, configs), federated=True)
    return report, run_all(app, configs, report, jobs, partial(_take, app, report, configs))


def _take(app: AppFolder, report: "LoraReport", configs: Configs, cell: LoraCell) -> str:
    """Read a finished run into the report; return what is told of it."""
    from fedretune.study.folders import read_config, read_summary, trained_parameters
    from fedretune.study.lora.federated import row_of

    folder = report.folder / "runs" / cell.name
    tables = read_config(folder)
    config = app.module("scenarios").RunConfig.from_flat(tables["config"])
    parameters = trained_parameters(config, tables["data"])
    images = _training_images(configs[cell]["manifest"])
    row = row_of(cell, read_summary(folder), parameters, images)
    report.add(row)
    auroc = "   -" if row["auroc"] is None else f"{row['auroc']:.3f}"
    return f"{auroc}   {row['bytes'] / 1e3:,.1f} kB   {row['wall_seconds']:.1f} s"


def _training_images(manifest: str) -> int:
    import pandas as pd

    return int((pd.read_csv(manifest, usecols=["split"])["split"] == "train").sum())


def _about(app: AppFolder, configs: Configs) -> dict[str, str]:
    """Return the keys that all runs share and that are not at their default."""
    from fedretune.study.lora.federated import CELL_KEYS

    shared = shared_keys(app, configs, CELL_KEYS)
    told = ", ".join(f"`{key} = {value}`" for key, value in shared.items())
    first = next(iter(configs.values()))
    return {"blocks tuned": str(first["adaptor.blocks"] or "all"), "not at their default": told}
