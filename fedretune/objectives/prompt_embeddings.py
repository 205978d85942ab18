"""What the frozen text encoder makes of a prompt set."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class Directed(NamedTuple):
    """Vectors ``[..., d]``, beside them their lengths ``[..., 1]`` and directions ``[..., d]``."""

    vectors: Tensor
    lengths: Tensor
    directions: Tensor


def directed(x: Tensor) -> Directed:
    """Return vectors with their lengths and directions; a vector of 0 has none, and gets 0."""
    lengths = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return Directed(x, lengths, x / lengths.clamp_min(1e-12))


def undirected(x: Tensor) -> Directed:
    """Return rows that are no vectors: without lengths and directions, and without a copy."""
    return Directed(x, x[..., :0], x[..., :0])


@dataclass(frozen=True)
class PromptEmbeddings:
    """The embedded prompts of `F` findings: float32, as the encoder gives them, not normalised.

    Parameters
    ----------
    positive : Tensor
        Shape ``[F, P, d]``: the `P` prompts that say that the finding is there.
    negative : Tensor
        Shape ``[F, N, d]``: the `N` prompts that say that it is not.
    findings : tuple[str, ...]
        The names of the `F` findings, in the order of the tensors' first axis.
    """

    positive: Tensor
    negative: Tensor
    findings: tuple[str, ...]

    @cached_property
    def joined(self) -> Directed:
        """All prompts of each finding, ``[F, P + N, d]``: found once, as they never change."""
        return directed(torch.cat([self.positive, self.negative], dim=1))

    @cached_property
    def means(self) -> Tensor:
        """The mean of each finding's positive and of its negative prompts, ``[F, 2, d]``."""
        return torch.stack([self.positive.mean(1), self.negative.mean(1)], dim=1)

    @cached_property
    def averaging(self) -> Tensor:
        """The weights ``[F, 2, P + N]`` whose products with `joined` prompts are `means`."""
        positive, negative = self.positive.shape[1], self.negative.shape[1]
        weights = torch.zeros(len(self.findings), 2, positive + negative)
        weights[:, 0, :positive], weights[:, 1, positive:] = 1 / positive, 1 / negative
        return weights

    @cached_property
    def stretching(self) -> Tensor:
        """The weights ``[F, 2, P + N]`` that average, each times its prompt's length."""
        return self.averaging * self.joined.lengths.mT
