"""A round's sum that hides whole sites: cut, added up, noised; McMahan et al. 2018 (1710.06963).

Each site's update, over all its tensors together, is cut to the length `clip`; the updates are
added up with equal weights; to the sum goes normal noise of ``noise * clip``; the whole is divided
by the number of sites that were to be expected. Not by that of those that replied: it would tell
who did, and whoever fails would make the others' part larger. What the strategy makes of this mean
looks at no site any more.

Adaptive clipping, Andrew et al. 2021 (arXiv 1905.03871): with b the share of updates no longer than
C, known with noise, ``C <- C exp(-0.2 (b - quantile))``. The count and the sum are one mechanism of
noise z, where ``z^-2 = z_sum^-2 + (2 s)^-2``, s the count's noise. The paper's s is a twentieth of
the sites; with few sites and much noise there is no z_sum then, so that here s is at least 2 z, and
z_sum at most 4% above z.

Why not Flower's wrappers (`flwr.serverapp.strategy`, Flower 1.42): their noise is the global NumPy
generator's, which a resumed run does not continue and a server cannot make secure; it is for equal
weights, and FedAvg below them weighs by the examples that sites tell; they divide by what replied;
an update of zeros divides by zero; the reply's arrays are matched by position. The adaptive one
counts who was cut where the paper counts who was not, so that C falls when it should rise, and
takes the noise's scale from the next C, not from the one that updates were cut to. Where both are
defined, without noise and with equal counts, a test holds the means against each other.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from fedretune.privacy.noise import NoiseSource
from fedretune.wire import Array
from server.aggregation import Arrays
from server.strategies.fold import Floats, Fold, State, Update, floats

#: Among what a strategy remembers: the length that updates are cut to next.
CLIP = "clip"
#: How fast that follows the quantile, and the count's noise for each site: Andrew et al., 3.1.
FOLLOW, COUNT_NOISE = 0.2, 0.05
#: Whose the one update is that the strategy gets.
ALL = "@all"


@dataclass(frozen=True)
class Hiding:
    """How a round hides its sites.

    Parameters
    ----------
    clip : float
        Longest that an update counts for, over all its tensors.
    noise : float
        Standard deviation of the noise in units of `clip`; that of sum and count together.
    sites : float
        How many are to be expected, above 0.
    source : NoiseSource
    quantile : float (default: 0)
        The share of updates that `clip` is to follow; 0 leaves it as it is.
    """

    clip: float
    noise: float
    sites: float
    source: NoiseSource
    quantile: float = 0.0

    @property
    def count_noise(self) -> float:
        """Standard deviation of the noise in the count of updates that are not cut."""
        return max(COUNT_NOISE * self.sites, 2 * self.noise)

    @property
    def sum_noise(self) -> float:
        """Standard deviation of the noise in the sum, in units of `clip`."""
        if not (self.quantile and self.noise):
            return self.noise
        return 1 / math.sqrt(self.noise**-2 - (2 * self.count_noise) ** -2)


class PrivateFold:
    """The mean of cut updates with noise, handed to a strategy's own fold as one reply.

    Memory is that of two adaptors in float64, however many sites there are.

    Parameters
    ----------
    current : mapping of name to array
        The adaptor that was sent.
    hiding : Hiding
    strategy : Fold
        One that needs nothing but the mean.
    """

    def __init__(self, current: Arrays, hiding: Hiding, strategy: Fold) -> None:
        # In the order of names: a checkpoint keeps no other, and draws and sums depend on it.
        self._current = dict(sorted(floats(current).items()))
        self._hiding, self._strategy = hiding, strategy
        self._sum = {name: np.zeros(array.shape) for name, array in current.items()}
        self._whole = 0.0

    def add(self, update: Update) -> None:
        """Add what a site changed, cut."""
        change = {name: update.arrays[name] - sent for name, sent in self._current.items()}
        length = length_of(change)
        share = self._hiding.clip / length if length > self._hiding.clip else 1.0
        # Around 0, so that a site moves the count by no more than a half (Andrew et al., 2.1).
        self._whole += 0.5 if length <= self._hiding.clip else -0.5
        for name, each in change.items():
            self._sum[name] += share * each

    def sum(self) -> Floats:
        """Return what the cut updates add up to, without noise: what no site moves far."""
        return self._sum

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the strategy's adaptor and memory, and the next clip. It may be of no site."""
        hiding, scale = self._hiding, self._hiding.sum_noise * self._hiding.clip
        mean = {
            name: sent + (self._sum[name] + scale * self._normal(sent.shape)) / hiding.sites
            for name, sent in self._current.items()
        }
        self._strategy.add(Update(ALL, mean, 1))
        adaptor, state = self._strategy.result()
        if not hiding.quantile:
            return adaptor, state
        noise = hiding.count_noise * float(self._normal((1,))[0]) if hiding.noise else 0.0
        share = (self._whole + noise) / hiding.sites + 0.5
        clip = hiding.clip * math.exp(-FOLLOW * (share - hiding.quantile))
        return adaptor, {**state, CLIP: {CLIP: np.array([clip])}}

    def _normal(self, shape: tuple[int, ...]) -> Array:
        """Return draws of the noise's source, float64."""
        drawn: Array = self._hiding.source.normal(torch.Size(shape)).numpy().astype(np.float64)
        return drawn


def length_of(change: Floats) -> float:
    """Return the Euclidean length of a change, over all its tensors."""
    return math.sqrt(sum(float(np.square(each).sum()) for each in change.values()))
