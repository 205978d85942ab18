"""The study's question in a federation: each cell a simulation over sites and experiences.

A site's optimizer starts anew each round, so the study's momentum, warm-up and cosine have no place
there; nor have its augmentations, as sites train on tokens that are encoded once. What is kept of a
recipe is the rank. All else is ours, and the same for both models.
"""

from collections.abc import Mapping
from typing import Any

from fedretune.errors import UserError
from fedretune.study.lora.plan import KINDS, LoraCell
from fedretune.study.lora.recipes import Recipe

#: What a simulation is, unless the command line says otherwise.
DEFAULTS: Mapping[str, Any] = {
    "sites": 4,
    "experiences": 2,
    "rounds": 5,
    "partition": "iid",
    "train.optimizer": "adamw",
    "train.lr": 1e-3,
    "train.epochs": 1,
    "train.balance": "none",
}
#: `--quick`: the phantoms' own three sites, and as little of everything as will do.
QUICK: Mapping[str, Any] = {"sites": 3, "rounds": 1, "partition": "natural"}
#: Weights that were trained already want smaller steps than what starts from nothing.
FULL_RATE = 0.1
#: Keys of a run's config that the cells decide.
CELL_KEYS = (
    "method",
    "backbone",
    "manifest",
    "adaptor.kind",
    "adaptor.head",
    "adaptor.rank",
    "adaptor.alpha",
    "adaptor.dropout",
    "adaptor.blocks",
    "allow-backbone-on-wire",
    "seed",
    "name",
    "out",
    "resume",
)


def base_of(given: Mapping[str, Any], quick: bool) -> dict[str, Any]:
    """Return the keys that all cells share. Raises `UserError` for one that cells decide."""
    for key in CELL_KEYS:
        if key in given:
            raise UserError(f"A study sets '{key}' itself: use its options, not --set {key}.")
    return {**DEFAULTS, **(QUICK if quick else {}), **given}


def settings_of(
    cell: LoraCell,
    recipe: Recipe,
    base: Mapping[str, Any],
    backbone: str,
    manifest: str,
    blocks: int,
) -> dict[str, Any]:
    """Return the keys of a run's config that make the run this cell.

    Parameters
    ----------
    cell : LoraCell
    recipe : Recipe
    base : mapping
        Of `base_of`.
    backbone, manifest : str
    blocks : int
        How many of the last blocks are tuned; 0: all.
    """
    kind = KINDS[cell.tuning]
    keys: dict[str, Any] = {
        **base,
        "method": "retune",
        "backbone": backbone,
        "manifest": manifest,
        "adaptor.kind": kind,
        "adaptor.head": "linear",
        "adaptor.blocks": blocks,
        "seed": cell.seed,
        "name": cell.name,
    }
    if kind == "lora":
        keys |= {"adaptor.rank": recipe.rank, "adaptor.alpha": recipe.alpha}
        keys |= {"adaptor.dropout": recipe.dropout}
    if kind == "full":
        keys |= {"allow-backbone-on-wire": True, "train.lr": float(base["train.lr"]) * FULL_RATE}
    return keys


def row_of(
    cell: LoraCell, summary: Mapping[str, Any], parameters: int, images: int
) -> dict[str, Any]:
    """Return a run's row of ``table.csv``; `images` are those that train, at all sites."""
    figures = ("forgetting", "backward_transfer", "bytes_up", "bytes_down")
    return {
        "model": cell.model,
        "data": cell.data,
        "ratio": cell.ratio,
        "tuning": cell.tuning,
        "seed": cell.seed,
        "recipe": "ours",
        "auroc": summary["final_auroc"],
        **{name: summary[name] for name in figures},
        "undefined": len(summary["undefined_findings"]),
        "train_images": images,
        "trained_parameters": parameters,
        "bytes": summary["bytes_up_per_site_round"],
        "run": cell.name,
        "wall_seconds": summary["wall_seconds"],
    }
