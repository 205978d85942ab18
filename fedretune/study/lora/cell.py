"""One cell of `study lora`: from its config to a folder with ``summary.json``."""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

from fedretune.data.manifest import Manifest, check_images, load_manifest
from fedretune.errors import RunFailedError, UserError
from fedretune.paths import writing
from fedretune.seeds import derive_seed
from fedretune.study.lora.recipes import Recipe, model_of

if TYPE_CHECKING:
    import torch

    from fedretune.adaptors import TunedSpec
    from fedretune.study.lora.fit import Fitted, Task

_STATE, _EPOCHS = "state.pt", "epochs.csv"
_IMAGE = 224


def run_cell(config: dict[str, Any]) -> None:
    """Tune and test one cell, anew or from where its folder stands.

    Parameters
    ----------
    config : dict
        As `fedretune.study.lora.plan.config_of` makes it, with ``out``, ``device`` and ``resume``.

    Raises
    ------
    RunFailedError
        What a user could have mended before came up now.
    """
    folder = Path(config["out"]) / config["name"]
    kept = {key: value for key, value in config.items() if key not in ("out", "resume")}
    try:
        with writing(folder / "config.toml") as file:
            file.write(tomli_w.dumps(kept).encode())
        summary = _run(config, folder)
        with writing(folder / "summary.json") as file:
            file.write((json.dumps(summary, indent=1) + "\n").encode())
    except OSError as error:
        raise RunFailedError(f"Cannot write {folder}: {error.strerror}.") from error
    except UserError as error:
        raise RunFailedError(str(error)) from error
    (folder / _STATE).unlink(missing_ok=True)


def recipe_in(config: Mapping[str, Any]) -> Recipe:
    """Return the recipe that a cell's config holds."""
    return Recipe(**{each.name: config[f"recipe.{each.name}"] for each in fields(Recipe)})


def _run(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    import torch

    from fedretune.adaptors import build
    from fedretune.study.lora.fit import fit
    from fedretune.tuning import tuned_spec, use

    began, peak = time.monotonic(), _Peak(config["device"])
    device, recipe = torch.device(config["device"]), recipe_in(config)
    manifest = load_manifest(config["manifest"])
    check_images(manifest)
    layout = use(config["backbone"], device=config["device"])
    spec = tuned_spec(
        layout,
        config["kind"],
        findings=len(manifest.findings),
        rank=recipe.rank or 1,
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        blocks=min(config["blocks"], layout.depth),
    )
    model: Any = build(spec, derive_seed(config["seed"], "start")).to(device)
    task = task_of(config, manifest, spec, recipe, device)
    told = partial(_tell, folder / _EPOCHS)
    fitted = fit(model, task, recipe, config["seed"], folder / _STATE, told)
    parameters = sum(each.numel() for each in model.parameters())
    return {
        **_figures(fitted, manifest, task),
        "trained_parameters": parameters,
        "bytes": 4 * parameters,
        "peak_bytes": peak.read(),
        "wall_seconds": round(time.monotonic() - began, 3),
    }


def _tell(path: Path, epoch: int, loss: float, auroc: float) -> None:
    """Write an epoch's line; those of epochs that are done again, after a stop, give way."""
    lines = path.read_text().splitlines()[1:epoch] if path.is_file() else []
    lines = ["epoch,loss,val_auroc", *lines, f"{epoch},{loss:.6g},{auroc:.6g}"]
    path.write_text("\n".join(lines) + "\n")


def task_of(
    config: Mapping[str, Any],
    manifest: Manifest,
    spec: "TunedSpec",
    recipe: Recipe,
    device: "torch.device",
) -> "Task":
    """Return what a cell trains and tests on: frozen tokens where that is worth it, else images."""
    from fedretune.backbones.source import find_source
    from fedretune.study.lora.augment import augmentation
    from fedretune.study.lora.fit import Task
    from fedretune.study.lora.images import Fresh, Kept, loaders_for, stored, worth_storing
    from fedretune.tuning import held

    split = manifest.table["split"].to_numpy()
    train, val, test = (np.flatnonzero(split == part) for part in ("train", "val", "test"))
    loaders = loaders_for(device)
    seen = (held(spec.layout.backbone), spec.blocks, device, config["seed"], loaders)
    augmented = recipe.augmentation != "none"
    if worth_storing(spec, _IMAGE):
        rows = np.concatenate([val, test] if augmented else [train, val, test])
        plain: Any = stored(manifest, config["backbone"], spec, np.sort(rows))
    else:
        source = find_source(config["backbone"], allow_hub=False)
        plain = Kept(Fresh(manifest, source.load().transform, *seen))
    fresh = plain
    if augmented:
        model = model_of(config["model"])
        prepare = augmentation(recipe.augmentation, _IMAGE, model.mean, model.std)
        fresh = Fresh(manifest, prepare, *seen)
    return Task(manifest.labels(), train, val, test, fresh, plain)


def _figures(fitted: "Fitted", manifest: Manifest, task: "Task") -> dict[str, Any]:
    by_finding = dict(zip(manifest.findings, map(_json, fitted.auroc), strict=True))
    defined = [value for value in by_finding.values() if value is not None]
    return {
        "status": "complete",
        "auroc": sum(defined) / len(defined) if defined else None,
        "by_finding": by_finding,
        "undefined_findings": [name for name, value in by_finding.items() if value is None],
        "val_auroc": _json(fitted.val_auroc),
        "best_epoch": fitted.epoch,
        "losses": [round(loss, 6) for loss in fitted.losses],
        "images": {"train": len(task.train), "val": len(task.val), "test": len(task.test)},
    }


class _Peak:
    """The most memory at once, from when it is made: the GPU's own, or else this process'."""

    def __init__(self, device: str) -> None:
        import torch

        self._gpu = torch.device(device) if device.startswith("cuda") else None
        if self._gpu is not None:
            torch.cuda.reset_peak_memory_stats(self._gpu)
            return
        with suppress(OSError):  # Linux: forget the peak of the cells that ran here before
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int:
        """Return bytes."""
        import torch

        if self._gpu is not None:
            return int(torch.cuda.max_memory_allocated(self._gpu))
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            import resource  # of Unix alone

            unit = 1 if sys.platform == "darwin" else 1024
            return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _json(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
