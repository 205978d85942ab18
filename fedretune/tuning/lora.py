"""LoRA, Hu et al. 2021 (arXiv 2106.09685): ``W x`` becomes ``W x + alpha / r * B A drop(x)``.

Ours rather than peft's. peft takes a fused qkv as one matrix: for q and v alone it needs a mask of
its own and an adaptor of three times the rows, whose count is not the study's, or another model
with the projection cut up; and it does not see into open_clip's `nn.MultiheadAttention`. Here a
target is rows of a matrix, and frozen weights are registered nowhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedretune.seeds import derive_seed
from fedretune.tuning.layout import Part

#: A target's factors: A ``[r, inputs]`` and B ``[rows, r]``.
Factors = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Noise:
    """Dropout in one step of training: the seed of its masks, and the share that is dropped.

    Masks are drawn anew from the seed, so that a block that is computed twice (gradient
    checkpointing) drops the same; the global generator is never read.
    """

    seed: int
    share: float

    def drop(self, x: Tensor, where: str) -> Tensor:
        """Return x with a share of it 0, and the rest larger by as much."""
        if not self.share:
            return x
        generator = torch.Generator(x.device).manual_seed(derive_seed(self.seed, where))
        drawn = torch.rand(x.shape, generator=generator, device=x.device)
        return x * (drawn >= self.share) / (1 - self.share)


def merged(weight: Tensor, parts: Sequence[tuple[Part, Factors]], scale: float) -> Tensor:
    """Return a frozen matrix with the products of its parts' factors added."""
    total = weight
    for part, (a, b) in parts:
        rest = weight.shape[0] - part.first - part.rows
        total = total + F.pad(scale * (b @ a), (0, 0, part.first, rest))
    return total


@contextmanager
def beside(
    block: nn.Module,
    by_weight: Mapping[str, Sequence[tuple[Part, Factors]]],
    scale: float,
    noise: Noise | None,
) -> Iterator[None]:
    """While it lasts, let each linear layer of `block` answer with its factors' part added.

    Parameters
    ----------
    block : torch module
        An opened one (`fedretune.tuning.frozen.Trunk`).
    by_weight : mapping of a weight's name to its parts with their factors
    scale : float
    noise : Noise | None
        None drops nothing.
    """
    handles = []
    for name, parts in by_weight.items():
        layer = block.get_submodule(layer_of(name))
        handles.append(layer.register_forward_hook(partial(_add, name, parts, scale, noise)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def layer_of(weight: str) -> str:
    """Return the name, in an opened block, of the linear layer that has this weight."""
    return "attn.qkv" if weight == "attn.in_proj_weight" else weight.removesuffix(".weight")


def _add(
    name: str,
    parts: Sequence[tuple[Part, Factors]],
    scale: float,
    noise: Noise | None,
    layer: nn.Module,
    given: tuple[Tensor],
    output: Tensor,
) -> Tensor:
    x = given[0] if noise is None else noise.drop(given[0], name)
    down = torch.cat([a for _, (a, _) in parts])
    up = torch.cat(
        [
            F.pad(b, (0, 0, part.first, output.shape[-1] - part.first - part.rows))
            for part, (_, b) in parts
        ],
        dim=1,
    )
    added: Tensor = output + scale * ((x @ down.T) @ up.T)
    return added
