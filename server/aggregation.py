"""From the sites' adaptors to the next global one: pure functions over named arrays."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from fedretune.wire import Array

Arrays = Mapping[str, Array]

#: Values of a tensor that are computed with at a time: 256 KiB of float64.
_AT_A_TIME = 2**15


class WeightedMean:
    """The mean of the sites' adaptors, folded one site at a time in float64.

    ``w = sum_k n_k w_k / sum_k n_k``, FedAvg of McMahan et al. 2017 (arXiv 1602.05629), n_k the
    examples of site k. Of a tensor whose rows belong to findings, row f may be weighted by the
    site's positives of finding f instead, so that who never saw a finding does not dilute what
    the others learnt of it; where no site has a positive, by the examples after all. Memory is
    that of three adaptors, however many sites there are. Sites must be added in an order that
    does not depend on arrival, for sums of floats do.

    Parameters
    ----------
    by_finding : Collection[str] (default: none)
        Names of the tensors, their first axis the findings, to be weighted by positives.
    """

    def __init__(self, by_finding: Collection[str] = ()) -> None:
        self._by_finding = frozenset(by_finding)
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._examples = 0.0
        self._row_sums: dict[str, NDArray[np.float64]] = {}
        self._positives: NDArray[np.float64] | float = 0.0

    def add(self, arrays: Arrays, examples: int, positives: Array | None = None) -> None:
        """Add one site's adaptor; `positives`, ``[F]``, wherever there are tensors by finding."""
        self._examples += examples
        for name, array in arrays.items():
            _accumulate(self._sums, name, array, np.full((1,) * array.ndim, float(examples)))
            if name in self._by_finding:
                assert positives is not None
                rows = positives.astype(np.float64).reshape(-1, *[1] * (array.ndim - 1))
                _accumulate(self._row_sums, name, array, rows)
        if positives is not None:
            self._positives = self._positives + positives.astype(np.float64)

    def mean(self) -> dict[str, NDArray[np.float64]]:
        """Return the mean. Raises `ValueError` if there is nothing."""
        if not self._examples:
            raise ValueError("nothing to average")
        return {name: self._mean(name) for name in self._sums}

    def _mean(self, name: str) -> NDArray[np.float64]:
        mean = self._sums[name] / self._examples
        if name not in self._by_finding:
            return mean
        total = np.asarray(self._positives).reshape(-1, *[1] * (mean.ndim - 1))
        by_row: NDArray[np.float64] = np.where(
            total > 0, self._row_sums[name] / np.maximum(total, 1.0), mean
        )
        return by_row


def _accumulate(
    sums: dict[str, NDArray[np.float64]], name: str, array: Array, weight: NDArray[np.float64]
) -> None:
    """Add ``weight * array``, in float64, to the sum of a name; `weight` is a number or a column.

    Some rows at a time, so that the products are still in the processor's cache when they are
    added: half of the time of an adaptor of megabytes.
    """
    if name not in sums:
        sums[name] = np.zeros(array.shape)
    total, weights = sums[name], np.broadcast_to(weight, (len(array), *weight.shape[1:]))
    for part in parts_of(array):
        total[part] += np.multiply(array[part], weights[part])


def parts_of(array: Array) -> Iterator[slice]:
    """Yield the rows of an array, as many at a time as stay in the processor's cache."""
    rows = max(1, _AT_A_TIME // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)
