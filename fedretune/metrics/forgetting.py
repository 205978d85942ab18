"""What a stream of experiences leaves behind: final, forgetting and backward transfer.

The field defines "forgetting" in at least five ways that do not agree; these are this project's,
and `FORMULAS` is printed beside the figures.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedretune.metrics import macro

#: The formulas, to be printed wherever the figures are.
FORMULAS = """\
a[t,e]: macro AUROC on experience e after experience t, of T
final = mean over e of a[T-1,e]
forgetting = mean over e < T-1 of max(0, max over e <= t < T-1 of a[t,e] - a[T-1,e])
backward transfer = mean over e < T-1 of a[T-1,e] - a[e,e]"""


@dataclass(frozen=True)
class Retention:
    """The three figures, in units of `a`. NaN where there is nothing to take the mean of."""

    final: float
    forgetting: float
    backward_transfer: float


def summarise(a: ArrayLike) -> Retention:
    """Summarise a run by `FORMULAS`.

    Parameters
    ----------
    a : ArrayLike
        Shape ``[T, E]``: row t is what was measured after experience t. An undefined entry is NaN
        and left out; an experience that is undefined at the end is left out of every mean. With
        T = 1 nothing could be forgotten: forgetting and backward transfer are NaN.
    """
    table = np.asarray(a, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"a must be [T, E] with T and E of 1 or more, not {table.shape}")
    last = table[-1]
    past = range(min(len(table) - 1, table.shape[1]))
    forgot = [_forgotten(table[e:-1, e], last[e]) for e in past]
    gained = [last[e] - table[e, e] for e in past]
    return Retention(_mean(last), _mean(np.array(forgot)), _mean(np.array(gained)))


def _forgotten(before: NDArray[np.float64], after: float) -> float:
    known = before[~np.isnan(before)]
    if not len(known) or np.isnan(after):
        return float("nan")
    return max(0.0, float(known.max() - after))


def _mean(values: NDArray[np.float64]) -> float:
    return float(macro(values))
