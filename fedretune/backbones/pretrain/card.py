"""The model card: what was done and what was measured, in words that the command fills in."""

import os
import platform
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.backbones.pretrain.recipe import Recipe
from fedretune.backbones.pretrain.reports import UNMENTIONED
from fedretune.findings import NIH14


@dataclass(frozen=True)
class Figures:
    """AUROC of each of `NIH14` on the same images, and how many of them have the finding."""

    positives: NDArray[Any]
    images: int
    zero_shot: NDArray[np.float64]
    probe: NDArray[np.float64]
    ceiling: NDArray[np.float64]


@dataclass
class Clock:
    """Wall and CPU seconds, rendering processes included, since it was made."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=lambda: _cpu_seconds())

    def read(self) -> tuple[float, float]:
        """Return (wall seconds, CPU seconds) so far."""
        return time.perf_counter() - self.wall, _cpu_seconds() - self.cpu


def _cpu_seconds() -> float:
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def write_card(
    recipe: Recipe,
    seed: int,
    images: int,
    parameters: tuple[int, int],
    seconds: tuple[float, float],
    figures: Figures,
) -> str:
    """Return the card, Markdown. `parameters` are of the image tower and of the text tower."""
    rows = "\n".join(_row(k, figures) for k in range(len(NIH14)))
    told = np.array([f not in UNMENTIONED for f in NIH14])
    return _TEXT.format(
        seed=seed,
        images=images,
        recipe=recipe,
        image_parameters=parameters[0],
        text_parameters=parameters[1],
        wall=seconds[0],
        cpu=seconds[1],
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        machine=_processor(),
        unmentioned=", ".join(UNMENTIONED),
        judged=figures.images,
        rows=rows,
        zero=_mean(figures.zero_shot),
        probe=_mean(figures.probe),
        ceiling=_mean(figures.ceiling),
        zero_told=_mean(figures.zero_shot[told]),
        zero_new=_mean(figures.zero_shot[~told]),
        probe_told=_mean(figures.probe[told]),
        probe_new=_mean(figures.probe[~told]),
        ceiling_told=_mean(figures.ceiling[told]),
        ceiling_new=_mean(figures.ceiling[~told]),
    )


def _row(k: int, figures: Figures) -> str:
    name = NIH14[k] + (" (new)" if NIH14[k] in UNMENTIONED else "")
    values = (figures.zero_shot[k], figures.probe[k], figures.ceiling[k])
    return (
        f"| {name} | {int(figures.positives[k])} | " + " | ".join(f"{x:.3f}" for x in values) + " |"
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


_TEXT = """---
license: apache-2.0
source: trained by 'fedretune backbones pretrain' on phantoms alone
---
# phantom-clip

A small open_clip model that knows only phantoms: procedural chest radiographs and templated
reports. It is FedRETune's embedded default backbone, for trying methods. **It has never seen a
patient and is of no use in a clinic.**

Written by `fedretune backbones pretrain`, figures included; running it again with the same seed,
number of threads and library versions gives the same weights.

## Recipe
- Seed {seed}. {images} images of {recipe.patients} pretraining patients from {recipe.sites} sites;
  their random streams have a namespace of their own, so no run's patient is among them.
- Image tower: open_clip's ResNet, {image_parameters:,} parameters, 128 x 128. Text tower: a
  transformer over a word vocabulary of its own, {text_parameters:,} parameters. Vectors of 128.
- {recipe.steps} steps of {recipe.batch} pairs, softmax contrast in which equal texts are no
  negatives of each other, AdamW at 1e-3 with a cosine to 0, float32; saved as float16.
- A report names the findings present, 1 to 3 that are absent, side, degree, and at times view,
  build, breath and heart size. No report mentions {unmentioned}: they are new to the model.
- Rendering and training took {wall:.0f} s of wall time, {cpu:.0f} s of CPU time, on {cores} cores
  ({machine}), which other work may have shared.

## What it can do
AUROC on the {judged} validation and test images of {recipe.judged_patients} patients of the
default data (4 sites, seed 0). *Zero-shot*: the precursor's prompts, difference of the cosines.
*Probe*: a small MLP on the frozen vectors of the training images. *Ceiling*: the same image tower
trained on all pretraining images with the labels, {recipe.ceiling_steps} steps. Where the probe
beats it, it has not converged and is no bound.

| finding | positives | zero-shot | probe | ceiling |
|---|---|---|---|---|
{rows}
| **all 14** | | **{zero:.3f}** | **{probe:.3f}** | **{ceiling:.3f}** |
| mentioned in reports | | {zero_told:.3f} | {probe_told:.3f} | {ceiling_told:.3f} |
| new | | {zero_new:.3f} | {probe_new:.3f} | {ceiling_new:.3f} |
"""
