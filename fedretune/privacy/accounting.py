"""How much privacy is spent: epsilon at a delta, of everything that a site has let out.

The accountant is Opacus' Renyi one (Mironov, Talwar & Zhang 2019, arXiv 1908.10530): an upper bound
of what Poisson-sampled Gaussian mechanisms of whatever noise, rate and number of steps spend
together. Its PRV accountant gives a smaller one, by a tenth or so; but it takes seconds, and as
much memory as there is where a server asks for very many steps, which a hospital cannot have.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fedretune.errors import UserError

#: Renyi orders at which the loss is looked at: the best of them counts.
ORDERS = [
    *(1 + quarter / 4 for quarter in range(1, 40)),
    *range(11, 64),
    *(2**power for power in range(6, 12)),
]
#: Noise beyond which no search goes: it drowns whatever there is to learn.
MOST_NOISE = 2.0**14


@dataclass(frozen=True, order=True)
class Spending:
    """Steps of a Poisson-sampled Gaussian mechanism; the fields are `dp.Mechanism`'s."""

    noise: float
    rate: float
    steps: int


def epsilon_of(spent: Iterable[Spending], delta: float) -> float:
    """Return the epsilon, at `delta`, of all these steps on the same data; 0 for none."""
    merged: dict[tuple[float, float], int] = {}
    for each in spent:
        merged[each.noise, each.rate] = merged.get((each.noise, each.rate), 0) + each.steps
    return _epsilon(tuple((*key, steps) for key, steps in sorted(merged.items())), delta)


@lru_cache(maxsize=4096)
def _epsilon(history: tuple[tuple[float, float, int], ...], delta: float) -> float:
    if not history:
        return 0.0
    from opacus.accountants.analysis import rdp

    total = sum(
        rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=steps, orders=ORDERS)
        for noise, rate, steps in history
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the best order is the first or the last
        return float(rdp.get_privacy_spent(orders=ORDERS, rdp=total, delta=delta)[0])


@lru_cache(maxsize=64)
def noise_for(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Return the least noise, to one in 500, with which so many steps spend `epsilon`.

    Raises
    ------
    UserError
        No noise within reason does.
    """
    low, high = 0.0, 0.5
    while _spends(high, rate, steps, delta) > epsilon:
        low, high = high, 2 * high
        if high > MOST_NOISE:
            raise UserError(
                f"privacy.epsilon = {epsilon:g} at privacy.delta = {delta:g} cannot be had with "
                f"{steps} steps: take a larger epsilon, or fewer rounds or privacy.steps."
            )
    while high - low > high / 500:
        middle = (low + high) / 2
        low, high = (
            (low, middle) if _spends(middle, rate, steps, delta) <= epsilon else (middle, high)
        )
    return high


def _spends(noise: float, rate: float, steps: int, delta: float) -> float:
    return epsilon_of([Spending(noise, rate, steps)], delta)


@dataclass(frozen=True)
class Release:
    """One round that has left a site.

    Parameters
    ----------
    run : str
        Its name, and a fingerprint of who is in which of its experiences.
    experience, round : int
    spent : Spending
    source : str
        Of the noise: ``secure`` or ``seeded``.
    disjoint : bool
        Whether the manifest proves that no unit of one experience of the run is in another.
    """

    run: str
    experience: int
    round: int
    spent: Spending
    source: str
    disjoint: bool


def total_epsilon(releases: Sequence[Release], delta: float) -> float:
    """Return what all releases spend, for the unit that they cost most.

    Rounds of one experience are on the same units and add up. Experiences of one run on disjoint
    units do not: each unit pays for its own (parallel composition), so the dearest counts. Runs
    may cut the stream otherwise, so that the dearest experience of each is added up.
    """
    runs = dict.fromkeys(each.run for each in releases)
    dearest = [
        spent
        for run in runs
        for spent in _dearest([each for each in releases if each.run == run], delta)
    ]
    return epsilon_of(dearest, delta)


def _dearest(releases: Sequence[Release], delta: float) -> list[Spending]:
    if not all(each.disjoint for each in releases):
        return [each.spent for each in releases]
    experiences = dict.fromkeys(each.experience for each in releases)
    histories = [
        [each.spent for each in releases if each.experience == experience]
        for experience in experiences
    ]
    return max(histories, key=lambda history: epsilon_of(history, delta))
