"""Shadow adaptors: what a model says of a candidate when it was trained on them, and when not."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedretune.adaptors import build
from fedretune.privacy.attacks.target import Target, confidences
from fedretune.seeds import derive_seed
from fedretune.training import train
from fedretune.workers import cores


@dataclass(frozen=True)
class Shadows:
    """What `S` shadows say of `n` candidates.

    Parameters
    ----------
    odds : Tensor
        Shape ``[S, n, F]``: `confidences` of each.
    within : Tensor
        Shape ``[S, n]``, bool: whom each was trained on. Every candidate is in half of them, with
        all of the same patient.
    """

    odds: Tensor
    within: Tensor


def shadows_of(target: Target) -> Shadows:
    """Return the target's shadows; who asks again, or of another model, is given the same."""
    return _shadows(target.first or target)


@lru_cache(maxsize=1)
def _shadows(target: Target) -> Shadows:
    """Train the target's shadows, each from untrained on a random half of the candidates' patients.

    On all cores, to the same bits.
    """
    count = len(target.candidates)
    units = torch.arange(count) if target.units is None else target.units
    within = halves(target.shadows, int(units.max()) + 1, target.seed)[:, units]
    workers = min(cores(), target.shadows)
    if workers > 1 and "fork" in multiprocessing.get_all_start_methods():
        forks = multiprocessing.get_context("fork")  # they share what this process has loaded
        with ProcessPoolExecutor(workers, forks, _begin, (target, within)) as pool:
            odds = [torch.from_numpy(each) for each in pool.map(_odds_in_fork, range(len(within)))]
    else:
        odds = [_odds(target, within[number], number) for number in range(len(within))]
    return Shadows(torch.stack(odds), within)


def halves(shadows: int, units: int, seed: int) -> Tensor:
    """Return ``[shadows, units]``, bool: each unit is in half, rounded down, of them."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "halves"))
    order = torch.rand(shadows, units, generator=generator).argsort(0).argsort(0)
    return order < shadows // 2


def _odds(target: Target, chosen: Tensor, number: int) -> Tensor:
    """Train one shadow; return what it says of every candidate."""
    seed = derive_seed(target.seed, "shadow", number)
    model, part = build(target.model.spec, seed), target.candidates.take(chosen)
    train(model, part.images, part.labels, target.prompts, target.settings, seed)
    return confidences(model, target.candidates, target)


#: In a fork: what it was begun with, which need not be sent to it again.
_given: list[tuple[Target, Tensor]] = []


def _begin(target: Target, within: Tensor) -> None:
    # A fork has none of its parent's threads, and would wait for them for ever.
    torch.set_num_threads(1)
    _given.append((target, within))


def _odds_in_fork(number: int) -> NDArray[np.float32]:
    target, within = _given[0]
    found: NDArray[np.float32] = _odds(target, within[number], number).numpy()
    return found
