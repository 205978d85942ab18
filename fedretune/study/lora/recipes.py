"""How each task is tuned: the study's settings, from ``recipes.toml``, and where they end.

The study has LoRA for all 18 tasks, full fine-tuning for two, and neither a linear probe nor
BitFit. Each recipe says whose it is.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from fedretune.errors import UserError, one_of
from fedretune.study.lora.datasets import DATA_SETS, RATIOS

#: What is tuned, in the order of the table's columns.
TUNINGS = ("lora", "full", "linear-probe", "bitfit")
MODELS = ("mrm", "cxr-mae")
_REFERENCE_BATCH = 256


@dataclass(frozen=True)
class Model:
    """One of the study's two models, and how it is tuned whatever the task.

    Parameters
    ----------
    name, checkpoint, backbone : str
        `backbone` is the kind of `fedretune.backbones` that reads the file.
    mean, std : float
        What pixels in [0, 1] are normalised by.
    optimizer, augmentation : str
    momentum, weight_decay, layer_decay : float
    """

    name: str
    checkpoint: str
    backbone: str
    mean: float
    std: float
    optimizer: str
    momentum: float
    weight_decay: float
    layer_decay: float
    augmentation: str


@dataclass(frozen=True)
class Recipe:
    """How one task is tuned in one way.

    Parameters
    ----------
    optimizer : str
        ``sgd`` or ``adamw``.
    lr : float
        At the end of the warm-up.
    epochs, warm_up, batch_size : int
    min_lr : float
    momentum : float
        Of SGD; AdamW's first beta.
    weight_decay : float
        AdamW's spares vectors.
    layer_decay : float
        What the rate is multiplied by for each block further from the head; 1: nothing.
    augmentation : str
        ``crop-flip``, ``rand-augment`` or ``none``.
    rank : int
        Of LoRA; 0 for another tuning.
    alpha, dropout : float
        Of LoRA.
    drop_path : float
        How often the last block's branches are dropped; see `fedretune.study.lora.depth`.
    source : str
        ``study``, or ``ours`` where the study's settings are not known or there are none.
    """

    optimizer: str
    lr: float
    epochs: int
    warm_up: int
    batch_size: int
    min_lr: float
    momentum: float
    weight_decay: float
    layer_decay: float
    augmentation: str
    rank: int
    alpha: float
    dropout: float
    drop_path: float
    source: str


@cache
def table() -> dict[str, Any]:
    """Return ``recipes.toml``."""
    return tomllib.loads((Path(__file__).parent / "recipes.toml").read_text())


def model_of(name: str) -> Model:
    """Return a model by its name. Raises `UserError`."""
    one_of("model of the LoRA study", name, MODELS)
    keys = {key.replace("-", "_"): value for key, value in table()[name].items()}
    return Model(name=name, **keys)


def recipe_of(
    model: str, data: str, ratio: int, tuning: str, fft_lr: Mapping[str, float] | None = None
) -> Recipe:
    """Return how a task is tuned.

    A linear probe and BitFit, which the study has not, go by the task's recipe of LoRA.

    Parameters
    ----------
    model, data, tuning : str
        Names in `MODELS`, `fedretune.study.lora.datasets.DATA_SETS` and `TUNINGS`.
    ratio : int
    fft_lr : mapping of a model to a rate (default: none)
        Full fine-tuning's, for the tasks of which it is not known: the optimizer's own (MRM), or
        base rate (CXR-MAE). Epochs and all else are then those of the one that is known.

    Raises
    ------
    UserError
        There is no such task, or its settings are not known.
    """
    one_of("model of the LoRA study", model, MODELS)
    one_of("data set of the LoRA study", data, DATA_SETS)
    one_of("tuning", tuning, TUNINGS)
    if ratio not in RATIOS:
        raise UserError(f"The ratio is {ratio}; the study has 1, 10 and 100 (per cent).")
    if tuning == "full":
        return _full(model, data, ratio, fft_lr or {})
    recipe = _filled(model, table()["lora"][model][data][str(ratio)])
    return recipe if tuning == "lora" else replace(recipe, rank=0, source="ours")


def known(model: str, data: str, ratio: int, tuning: str) -> bool:
    """Return whether the study's settings of a task are known."""
    return str(ratio) in table().get(tuning, {}).get(model, {}).get(data, {})


def _full(model: str, data: str, ratio: int, fft_lr: Mapping[str, float]) -> Recipe:
    if known(model, data, ratio, "full"):
        return _filled(model, table()["full"][model][data][str(ratio)])
    if model not in fft_lr:
        raise UserError(
            f"How the study tuned all of {model} on {data} at {ratio}% is not known (only on nih14 "
            f"at 1% it is). Give a rate of your own, such as --fft-lr {model}={_example(model)}, "
            "or leave 'full' out of --tunings."
        )
    reference = table()["full"][model]["nih14"]["1"]
    key = "base-lr" if "base-lr" in reference else "lr"
    return replace(_filled(model, {**reference, key: fft_lr[model]}), source="ours")


def _example(model: str) -> float:
    reference = table()["full"][model]["nih14"]["1"]
    return float(reference.get("lr", reference.get("base-lr")))


def _filled(model: str, own: Mapping[str, Any]) -> Recipe:
    """Return a task's own settings with those of its model and those that all share."""
    about, shared = model_of(model), table()["shared"]
    batch = int(shared["batch-size"])
    lr = own["lr"] if "lr" in own else own["base-lr"] * batch / _REFERENCE_BATCH
    return Recipe(
        optimizer=about.optimizer,
        lr=lr,
        epochs=own["epochs"],
        warm_up=shared["warm-up"],
        batch_size=batch,
        min_lr=shared["min-lr"],
        momentum=about.momentum,
        weight_decay=about.weight_decay,
        layer_decay=about.layer_decay,
        augmentation=about.augmentation,
        rank=own.get("rank", 0),
        alpha=shared["lora-alpha"],
        dropout=shared["lora-dropout"],
        drop_path=shared["drop-path"],
        source="study",
    )


def rates_in(texts: list[str]) -> dict[str, float]:
    """Return ``MODEL=RATE`` texts as a mapping. Raises `UserError` for another text."""
    rates = {}
    for text in texts:
        model, _, number = text.partition("=")
        one_of("model of the LoRA study", model.strip(), MODELS)
        try:
            rates[model.strip()] = float(number)
        except ValueError:
            rates[model.strip()] = 0.0
        if not 0 < rates[model.strip()] < float("inf"):
            raise UserError(f"--fft-lr takes MODEL=RATE, such as mrm=0.01, and got '{text}'.")
    return rates
