"""`regmean`: the linear layers that answer as all sites' do, Jin et al. 2023 (arXiv 2212.09849).

With G_i the second moments of a layer's inputs at site i and n_i its examples, the layer's weights
W become those of the least ``sum_i n_i E|(W - W_i) x|^2``: ``W sum_i n_i G_i = sum_i n_i W_i G_i``,
the off-diagonal numbers of each G_i first multiplied by ``shrink``, as there (by .9). Along inputs
that no site has seen, W is the weighted mean, as all that is no linear layer's weights is, and
tensors whose rows are weighed by positives. Memory is that of a few adaptors and the second
moments, however many sites there are. Nothing bounds what a bad site does.
"""

import numpy as np
from numpy.typing import NDArray

from fedretune.strategies.regmean import GRAM, linear_layers, symmetric
from fedretune.wire import Array
from server.aggregation import Arrays, WeightedMean
from server.strategies.fold import Setup, State, Update, cast_like

Matrix = NDArray[np.float64]
#: Of the mean second moment: how much pulls to the weighted mean, so that there is one solution.
PULL = 1e-9


class RegMeanFold:
    """For each linear layer, the two sides of its equation."""

    def __init__(self, setup: Setup, current: Arrays, state: State) -> None:
        self._current, self._shrink = current, setup.parameters["shrink"]
        self._mean = WeightedMean(setup.by_finding)
        sizes = linear_layers(setup.spec)
        solved = {name: shape for name, shape in sizes.items() if name not in setup.by_finding}
        self._moments = {name: np.zeros((size, size)) for name, (_, size) in solved.items()}
        self._products = {name: np.zeros(shape) for name, shape in solved.items()}

    def add(self, update: Update) -> None:
        """Add a site's layers, by their second moments."""
        positives = update.records.get("counts", {}).get("positives")
        self._mean.add(update.arrays, update.examples, positives)
        for name, moments in self._moments.items():
            gram = update.examples * shrunk(symmetric(update.records[GRAM][name]), self._shrink)
            moments += gram
            self._products[name] += update.arrays[name].astype(np.float64) @ gram

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the next adaptor. Raises `ValueError` if nothing was added."""
        found = self._mean.mean()
        for name, moments in self._moments.items():
            found[name] = solution(moments, self._products[name], found[name])
        return cast_like(self._current, found), {}


def shrunk(gram: Matrix, share: float) -> Matrix:
    """Return a square matrix, its off-diagonal numbers times `share`."""
    kept: Matrix = np.where(np.eye(len(gram), dtype=bool), gram, share * gram)
    return kept


def solution(moments: Matrix, products: Matrix, mean: Matrix) -> Matrix:
    """Return W ``[outputs, inputs]`` with ``W moments = products``, else nearest to the mean."""
    pull = PULL * float(np.diag(moments).mean()) or 1.0
    ridge = moments + pull * np.eye(len(moments))
    change = np.linalg.solve(ridge, (products - mean @ moments).T).T
    return mean + change.astype(np.float64)


#: A strategy, as the others are functions.
regmean = RegMeanFold
