"""`fisher`: each weight as sure as a site is of it, Matena & Raffel 2022 (arXiv 2111.09832).

``w = sum_i n_i (F_i + floor) w_i / sum_i n_i (F_i + floor)`` number by number, n_i the examples of
site i, F_i its Fisher information over that information's mean: the paper's equation with its
lambda_i = n_i / mean F_i, so that no site counts for more by the scale of its loss. What no site
is sure of is, by the floor, the plain mean; with a large one everything is.
"""

import numpy as np
from numpy.typing import NDArray

from fedretune.strategies.fisher import FISHER
from fedretune.wire import Array
from server.aggregation import Arrays, WeightedMean
from server.strategies.fold import Setup, State, Update, cast_like


class FisherFold:
    """Two means: of the weighted adaptors, and of the weights."""

    def __init__(self, setup: Setup, current: Arrays, state: State) -> None:
        self._current, self._floor = current, setup.parameters["floor"]
        self._adaptors, self._weights = (WeightedMean(setup.by_finding) for _ in range(2))

    def add(self, update: Update) -> None:
        """Add a site's adaptor, by its Fisher information."""
        weights = importance(update.records[FISHER], self._floor)
        weighted = {name: each * update.arrays[name] for name, each in weights.items()}
        positives = update.records.get("counts", {}).get("positives")
        self._adaptors.add(weighted, update.examples, positives)
        self._weights.add(weights, update.examples, positives)

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the next adaptor. Raises `ValueError` if nothing was added."""
        adaptors, weights = self._adaptors.mean(), self._weights.mean()
        found = {name: each / weights[name] for name, each in adaptors.items()}
        return cast_like(self._current, found), {}


def importance(fisher: Arrays, floor: float) -> dict[str, NDArray[np.float64]]:
    """Return Fisher information over its mean, and the floor added; the floor where all is 0."""
    count = sum(each.size for each in fisher.values())
    mean = sum(float(each.sum(dtype=np.float64)) for each in fisher.values()) / count
    return {name: each.astype(np.float64) / (mean or 1.0) + floor for name, each in fisher.items()}


#: A strategy, as the others are functions.
fisher = FisherFold
