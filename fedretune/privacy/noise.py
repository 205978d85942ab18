"""Where the randomness of differential privacy comes from.

Its promise is worth as much as its noise is unknown to others: whoever can guess a seed can take
the noise off again. So a hospital draws from the operating system; a simulation, which must be
repeatable and protects nobody, from a seed.
"""

import os
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

#: Draws that are averaged for one: the low bits of one alone tell of what it was added to
#: (Mironov 2012), those of a sum of several do not (Holohan & Braghin 2021, arXiv 2107.10138).
DRAWS = 4


class NoiseSource(Protocol):
    """Normal and binary draws."""

    #: ``secure`` or ``seeded``: what a run says of it.
    name: str

    def normal(self, shape: torch.Size) -> Tensor:
        """Return draws of mean 0 and variance 1, float32."""

    def chosen(self, count: int, rate: float) -> Tensor:
        """Return the positions, int64 and ascending, of which each is taken with this chance."""


class Seeded:
    """Draws from a seed: the same for the same seed, on any machine."""

    name = "seeded"

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, shape: torch.Size) -> Tensor:
        """Return draws of mean 0 and variance 1, float32."""
        return torch.randn(shape, generator=self._generator)

    def chosen(self, count: int, rate: float) -> Tensor:
        """Return the positions, int64 and ascending, of which each is taken with this chance."""
        drawn = torch.rand(count, generator=self._generator, dtype=torch.float64)
        return (drawn < rate).nonzero()[:, 0]


class Secure:
    """Draws from the operating system's source for keys."""

    name = "secure"

    def normal(self, shape: torch.Size) -> Tensor:
        """Return draws of mean 0 and variance 1, float32."""
        even = torch.from_numpy(uniform(DRAWS * shape.numel()))
        drawn = torch.special.ndtri(even).reshape(DRAWS, *shape)
        normal: Tensor = drawn.sum(0) / DRAWS**0.5
        return normal.float()

    def chosen(self, count: int, rate: float) -> Tensor:
        """Return the positions, int64 and ascending, of which each is taken with this chance."""
        drawn: Tensor = torch.from_numpy(np.flatnonzero(uniform(count) < rate))
        return drawn


def uniform(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return numbers between 0 and 1, neither of them among it, each of 53 random bits."""
    bits = np.frombuffer(os.urandom(8 * count), np.uint64) >> np.uint64(11)
    return (bits.astype(np.float64) + 0.5) * 2.0**-53
