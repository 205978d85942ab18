"""From the sites' adaptors to the next global one: pure functions over named arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from fedretune.wire import Array

Arrays = Mapping[str, Array]


def fedavg(replies: Mapping[str, tuple[int, Arrays]]) -> dict[str, Array]:
    """Return the mean of the sites' adaptors, weighted by examples.

    ``w = sum_k (n_k / n) w_k``, FedAvg of McMahan et al. 2017 (arXiv 1602.05629), summed in
    float64 and in the order of the sites' names, so that the order of arrival changes no bit.

    Parameters
    ----------
    replies : mapping of site to (examples, arrays)
        Validated: the same names, shapes and dtypes in each, examples positive.

    Raises
    ------
    ValueError
        There are no replies.
    """
    if not replies:
        raise ValueError("nothing to average")
    ordered = [replies[site] for site in sorted(replies)]
    weights = np.array([examples for examples, _ in ordered], dtype=np.float64)
    weights /= weights.sum()
    first = ordered[0][1]
    return {name: _mean([arrays[name] for _, arrays in ordered], weights) for name in first}


def _mean(arrays: Sequence[Array], weights: np.ndarray) -> Array:
    total = np.zeros(arrays[0].shape, dtype=np.float64)
    for weight, array in zip(weights, arrays, strict=True):
        total += weight * array.astype(np.float64)
    return total.astype(arrays[0].dtype)
