"""What a stream of experiences leaves behind: final, forgetting, backward and forward transfer.

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
backward transfer = mean over e < T-1 of a[T-1,e] - a[e,e]
forward transfer = mean over e >= 1 of a[e-1,e] - b[e], b of the untrained adaptor
A[t,f]: AUROC of finding f on the images of all experiences after step t; s: the step that first
trains f
trained final = mean over all f with an s of A[T-1,f]
finding forgetting = mean over f, s < T-1, of max(0, max over s <= t < T-1 of A[t,f] - A[T-1,f])"""


@dataclass(frozen=True)
class Retention:
    """The four figures, in units of `a`. NaN where there is nothing to take the mean of."""

    final: float
    forgetting: float
    backward_transfer: float
    forward_transfer: float


@dataclass(frozen=True)
class FindingRetention:
    """The two figures by finding, in units of `A`. NaN where there is nothing to take a mean of."""

    trained_final: float
    forgetting: float


def summarise(a: ArrayLike, b: ArrayLike | None = None) -> Retention:
    """Summarise a run by `FORMULAS`.

    Parameters
    ----------
    a : ArrayLike
        Shape ``[T, E]``: row t is what was measured after experience t. An undefined entry is NaN
        and left out; an experience that is undefined at the end is left out of every mean. With
        T = 1 nothing could be forgotten: forgetting and backward transfer are NaN. With T other
        than E no row belongs to an experience, as when all are trained at once: all but `final`
        are NaN.
    b : ArrayLike | None (default: None)
        Shape ``[E]``: the same measure of the untrained adaptor. Forward transfer is NaN without.
    """
    table = np.asarray(a, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"a must be [T, E] with T and E of 1 or more, not {table.shape}")
    steps, experiences = table.shape
    start = np.full(experiences, np.nan) if b is None else np.asarray(b, dtype=np.float64)
    if start.shape != (experiences,):
        raise ValueError(f"b must be [E], here [{experiences}], not {start.shape}")
    last, past = table[-1], range(steps - 1 if steps == experiences else 0)
    forgot = [_forgotten(table[e:-1, e], last[e]) for e in past]
    backward = [last[e] - table[e, e] for e in past]
    forward = [table[e, e + 1] - start[e + 1] for e in past]
    return Retention(_mean(last), *(_mean(np.array(x)) for x in (forgot, backward, forward)))


def summarise_findings(a: ArrayLike, first: ArrayLike) -> FindingRetention:
    """Summarise by finding what the mean over all findings hides, by `FORMULAS`.

    A finding that a later experience overwrites is made up for, in a mean over all findings, by
    those learnt since; so class-incremental streams want this beside `summarise`.

    Parameters
    ----------
    a : ArrayLike
        Shape ``[T, F]``: row t is the AUROC of each finding after step t, over all images. An
        undefined entry is NaN and left out.
    first : ArrayLike
        Shape ``[F]``, whole numbers below T: the step that first trains the finding; -1 for one
        that is never trained, which is left out.
    """
    table, steps = np.asarray(a, dtype=np.float64), np.asarray(first, dtype=np.int64)
    if table.ndim != 2 or not table.size or steps.shape != table.shape[1:]:
        raise ValueError(f"a must be [T, F] and first [F], not {table.shape} and {steps.shape}")
    if steps.max() >= len(table):
        raise ValueError(f"first names step {steps.max()}, and there are {len(table)}")
    past = [f for f in range(len(steps)) if 0 <= steps[f] < len(table) - 1]
    forgot = [_forgotten(table[steps[f] : -1, f], table[-1, f]) for f in past]
    return FindingRetention(_mean(table[-1, steps >= 0]), _mean(np.array(forgot)))


def _forgotten(before: NDArray[np.float64], after: float) -> float:
    known = before[~np.isnan(before)]
    if not len(known) or np.isnan(after):
        return float("nan")
    return max(0.0, float(known.max() - after))


def _mean(values: NDArray[np.float64]) -> float:
    return float(macro(values))
