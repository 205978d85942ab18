"""Stochastic depth: while a model trains, some images skip half a block (Huang et al., 2016)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from fedretune.tuning.frozen import Trunk

#: The two residual branches of timm's block: attention, and the MLP.
_BRANCHES = ("drop_path1", "drop_path2")


class DropBranch(nn.Module):
    """Zero a branch for a share of the images, and enlarge it for the others by 1 / (1 - share).

    Parameters
    ----------
    share : float
    generator : torch.Generator
        On the CPU, so that the same seed drops the same on any device.
    """

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self.share, self._generator = share, generator

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch ``[B, T, w]``."""
        kept = torch.rand(len(branch), generator=self._generator) >= self.share
        scale = kept.to(branch.device, branch.dtype) / (1 - self.share)
        return branch * scale[:, None, None]


@contextmanager
def stochastic_depth(trunk: "Trunk", positions: range, share: float, seed: int) -> Iterator[None]:
    """While it lasts, drop branches of the blocks at `positions`; wrap training alone in it.

    The share rises in a straight line from 0 at the first block to `share` at the last, as in
    timm's models. Blocks of another make than timm's are left as they are.

    Parameters
    ----------
    trunk : Trunk
    positions : range
        The blocks that are tuned.
    share : float
    seed : int
    """
    generator = torch.Generator().manual_seed(seed)
    shares = torch.linspace(0, share, len(trunk.blocks)).tolist()
    changed: list[tuple[Any, str, nn.Module]] = []
    for position in positions if share else ():
        for block in {id(each): each for each in _both(trunk, position)}.values():
            for name in _BRANCHES:
                if shares[position] and hasattr(block, name):
                    changed.append((block, name, getattr(block, name)))
                    setattr(block, name, DropBranch(shares[position], generator))
    try:
        yield
    finally:
        for block, name, before in changed:
            setattr(block, name, before)


def _both(trunk: "Trunk", position: int) -> tuple[nn.Module, nn.Module]:
    return trunk.blocks[position], trunk.opened[position]
