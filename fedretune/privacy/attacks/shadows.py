"""Shadow adaptors: what a model says of a candidate when it was trained on them, and when not."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from fedretune.adaptors import build
from fedretune.privacy.attacks.target import Target, confidences
from fedretune.seeds import derive_seed
from fedretune.training import train


@dataclass(frozen=True)
class Shadows:
    """What `S` shadows say of `n` candidates.

    Parameters
    ----------
    odds : Tensor
        Shape ``[S, n, F]``: `confidences` of each.
    within : Tensor
        Shape ``[S, n]``, bool: whom each was trained on. Every candidate is in half of them.
    """

    odds: Tensor
    within: Tensor


@lru_cache(maxsize=1)
def shadows_of(target: Target) -> Shadows:
    """Train the target's shadows, each from untrained on a random half of the candidates.

    Attacks that ask for the same target's again are given the same.
    """
    candidates, spec = target.candidates, target.model.spec
    within = halves(target.shadows, len(candidates), target.seed)
    odds = []
    for number, chosen in enumerate(within):
        seed = derive_seed(target.seed, "shadow", number)
        model, part = build(spec, seed), candidates.take(chosen)
        train(model, part.images, part.labels, target.prompts, target.settings, seed)
        odds.append(confidences(model, candidates, target))
    return Shadows(torch.stack(odds), within)


def halves(shadows: int, candidates: int, seed: int) -> Tensor:
    """Return ``[shadows, candidates]``, bool: each candidate is in half, rounded down, of them."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "halves"))
    order = torch.rand(shadows, candidates, generator=generator).argsort(0).argsort(0)
    return order < shadows // 2
