"""The study's optimizers: SGD with momentum; AdamW with a rate that falls from block to block."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fedretune.study.lora.recipes import Recipe

if TYPE_CHECKING:
    from fedretune.tuning.frozen import Trunk

_BLOCK = re.compile(r"^blocks\.(\d+)\.")
_SECOND_BETA = 0.999


def optimizer_of(model: nn.Module, recipe: Recipe, depth: int) -> torch.optim.Optimizer:
    """Return the optimizer; each group has `scale`, its share of the rate, as MAE's code has it.

    Block ``i`` of ``depth`` has ``layer_decay ** (depth - i)``; the head, and the normalisation
    before it, 1. AdamW's weight decay spares vectors, SGD's does not.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        spared = recipe.optimizer == "adamw" and parameter.ndim == 1
        decay = 0.0 if spared else recipe.weight_decay
        key = (layer_scale(name, recipe.layer_decay, depth), decay)
        groups.setdefault(key, []).append(parameter)
    written: list[dict[str, Any]] = [
        {"params": parameters, "scale": scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(written, lr=recipe.lr, momentum=recipe.momentum)
    return torch.optim.AdamW(written, lr=recipe.lr, betas=(recipe.momentum, _SECOND_BETA))


def layer_scale(name: str, decay: float, depth: int) -> float:
    """Return the share of the rate that a parameter has, by its name in `TunedSpec.tensors`."""
    found = _BLOCK.match(name)
    return decay ** (depth - int(found[1])) if found else 1.0


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of the next step, each group its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


class FullDecay:
    """AdamW's decay of whole weights, where what is trained are differences from frozen ones.

    AdamW makes ``d (1 - a)`` of a difference, a the rate times the decay; of the weight
    ``(w + d)(1 - a)`` is meant, which is less by ``a w`` still.

    Parameters
    ----------
    model : torch module
        Of the kind `full`.
    trunk : Trunk
        The frozen weights.
    optimizer : torch optimizer
    """

    def __init__(self, model: nn.Module, trunk: "Trunk", optimizer: torch.optim.Optimizer) -> None:
        frozen = dict(_frozen(trunk))
        pairs = {
            id(parameter): frozen[name]
            for name, parameter in model.named_parameters()
            if name in frozen
        }
        self._groups = [
            (group, [(each, pairs[id(each)]) for each in group["params"] if id(each) in pairs])
            for group in optimizer.param_groups
            if group["weight_decay"]
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Take off what the optimizer's step, just taken, has left of the decay."""
        for group, pairs in self._groups:
            share = group["lr"] * group["weight_decay"]
            for difference, weight in pairs:
                difference.sub_(weight.to(difference.device), alpha=share)


def _frozen(trunk: "Trunk") -> Iterable[tuple[str, Tensor]]:
    for position, block in enumerate(trunk.blocks):
        for name, weight in block.named_parameters():
            yield f"blocks.{position}.{name}", weight
    for name, weight in trunk.top.named_parameters():
        yield f"top.{name}", weight
