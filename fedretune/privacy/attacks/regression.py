"""Ridge regression, by which attackers learn from what they made themselves."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
#: Penalties, of which the best by leave-one-out is taken.
PENALTIES = np.logspace(-3, 4, 15)


def ridge(told: Matrix, known: Matrix, asked: Matrix) -> Matrix:
    """Return what a ridge regression from `told` to `known` says of `asked`, column by column.

    The penalty of each column is that of the least leave-one-out error. A column with a NaN is NaN.

    Parameters
    ----------
    told : float64 array [n, p]
    known : float64 array [n, F]
    asked : float64 array [U, p]
    """
    centre, spread = told.mean(0), np.maximum(told.std(0), 1e-12)
    u, s, vt = np.linalg.svd((told - centre) / spread, full_matrices=False)
    level = known.mean(0)
    best, found = np.full(known.shape[1], np.inf), np.full((len(asked), known.shape[1]), np.nan)
    for penalty in PENALTIES:
        shrunk = s**2 / (s**2 + penalty)
        leverage = np.square(u) @ shrunk + 1 / len(told)
        rest = (known - level - u @ (shrunk[:, None] * (u.T @ (known - level)))) / np.maximum(
            1 - leverage[:, None], 1e-9
        )
        error = np.square(rest).mean(0)
        weights = vt.T @ ((shrunk / np.maximum(s, 1e-12))[:, None] * (u.T @ (known - level)))
        better = error < best
        found[:, better] = (level + (asked - centre) / spread @ weights)[:, better]
        best = np.where(better, error, best)
    return found
