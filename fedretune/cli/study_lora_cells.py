"""The cells of ``fedretune study lora`` that are tuned in one place."""

from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedretune.cli.study_runs import Doing, run_cells_of
from fedretune.study.lora.datasets import data_set
from fedretune.study.lora.plan import LoraCell, config_of, differences
from fedretune.study.lora.recipes import Recipe

if TYPE_CHECKING:
    from fedretune.study.lora.report import LoraReport

Configs = Mapping[LoraCell, dict[str, Any]]
Recipes = Mapping[LoraCell, Recipe]


def prepare(
    recipes: Recipes, backbones: Mapping[str, str], out: Path, blocks: int, device: str
) -> Configs:
    """Return every cell's config."""
    from fedretune.backbones import describe
    from fedretune.study.lora.manifests import content_of, manifest_path

    prints = {name: describe(backbone).fingerprint for name, backbone in backbones.items()}
    contents = cache(content_of)
    where = {"blocks": blocks, "device": device, "out": str(out / "runs")}
    configs = {}
    for cell, recipe in recipes.items():
        manifest = manifest_path(out / "manifests", data_set(cell.data), cell.ratio)
        files = {"fingerprint": prints[cell.model], "content": contents(manifest)}
        backbone = backbones[cell.model]
        configs[cell] = config_of(cell, recipe, backbone, manifest, **files, **where)
    return configs


def run(
    configs: Configs, recipes: Recipes, out: Path, jobs: int
) -> tuple["LoraReport", dict[str, str]]:
    """Run what is not done; return the report, and why some failed."""
    from fedretune.study.lora.cell import run_cell
    from fedretune.study.lora.report import LoraReport

    report = LoraReport(out, [cell.name for cell in configs], _about(configs))
    doing = Doing(run_cell, _load, _differences_from)
    return report, run_cells_of(doing, configs, report, jobs, partial(_take, report, recipes))


def _differences_from(run: Path, config: Mapping[str, Any]) -> str:
    from fedretune.study.folders import read_config

    return differences(read_config(run), config)


def _load() -> None:
    """Import what a cell needs, so that no cell's seconds are those of imports."""
    for name in ("torch", "torchvision", "timm.data", "fedretune.study.lora.fit"):
        import_module(name)


def _take(report: "LoraReport", recipes: Recipes, cell: LoraCell) -> str:
    """Read a finished cell into the report; return what is told of it."""
    from fedretune.study.folders import read_summary
    from fedretune.study.lora.report import row_of

    row = row_of(cell, read_summary(report.folder / "runs" / cell.name), recipes[cell].source)
    report.add(row)
    auroc = "   -" if row["auroc"] is None else f"{row['auroc']:.3f}"
    return f"{auroc}   {row['trained_parameters']:,} parameters   {row['wall_seconds']:.1f} s"


def _about(configs: Configs) -> dict[str, str]:
    """Return what the end of the table says of all cells."""
    import torch

    first = next(iter(configs.values()))
    epochs = sorted({config["recipe.epochs"] for config in configs.values()})
    return {
        "blocks tuned": str(first["blocks"] or "all"),
        "epochs": ", ".join(map(str, epochs)),
        "device": first["device"],
        "torch": torch.__version__,
    }
