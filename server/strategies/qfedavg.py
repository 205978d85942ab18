"""`qfedavg`: the worse a site fares, the more it counts, Li et al. 2020 (arXiv 1905.10497).

With F_k the loss of the adaptor that was sent on the shard of site k, and g_k = L (w - w_k):
``w <- w - sum_k F_k^q g_k / sum_k (q F_k^(q-1) |g_k|^2 + L F_k^q)``, algorithm 2 there, all sites
counting alike whatever their size. For q = 0 it is the plain mean; one site alone is followed by
``1 / (1 + q L |w - w_k|^2 / F_k)`` of its way. Ours rather than Flower's, which learns what was
sent from `configure_train` and holds all replies at once.
"""

import numpy as np
from numpy.typing import NDArray

from fedretune.strategies.qfedavg import LOSS, RECORD
from fedretune.wire import Array
from server.aggregation import Arrays
from server.strategies.fold import Setup, State, Update, cast_like, floats

#: Added to each loss, so that a site without any is no division by zero: as Flower has it.
EPSILON = 1e-10


class QFedAvgFold:
    """The two sums of the formula, in constant memory."""

    def __init__(self, setup: Setup, current: Arrays, state: State) -> None:
        self._q, self._lipschitz = (setup.parameters[name] for name in ("q", "lipschitz"))
        self._current, self._start = current, floats(current)
        self._changes: dict[str, NDArray[np.float64]] = {
            name: np.zeros_like(array) for name, array in self._start.items()
        }
        self._step = 0.0

    def add(self, update: Update) -> None:
        """Add a site's change, by its loss."""
        q, lipschitz = self._q, self._lipschitz
        loss = float(str(update.scalars[RECORD][LOSS])) + EPSILON
        square = 0.0
        for name, start in self._start.items():
            gradient = lipschitz * (start - update.arrays[name])
            square += float(np.square(gradient).sum())
            self._changes[name] += loss**q * gradient
        self._step += q * loss ** (q - 1) * square + lipschitz * loss**q

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the adaptor after the step. Raises `ValueError` if nothing was added."""
        if not self._step:
            raise ValueError("nothing to aggregate")
        found = {
            name: each - self._changes[name] / self._step for name, each in self._start.items()
        }
        return cast_like(self._current, found), {}


#: A strategy, as the others are functions.
qfedavg = QFedAvgFold
