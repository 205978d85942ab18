"""Is an update of a plausible length? A round keeps one number a site, and no update."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fedretune.wire import Array
from server.aggregation import parts_of

#: With fewer lengths nobody can say which is the odd one.
FEWEST = 4
#: No adaptor moves further in a round, whatever the others do.
MAX_LENGTH = 1e6
#: The least and the most that a deviation of the logarithms is taken to be. A cohort of nearly
#: equal updates must not call one odd that goes a little further, nor one bad site of few make the
#: usual spread so wide that it fits in.
ALIKE, APART = 0.15, 0.3
#: A normal distribution's standard deviation in units of its median absolute deviation.
NORMAL = 1.4826


def update_length(adaptor: Mapping[str, Array], sent: Mapping[str, Array]) -> float:
    """Return the Euclidean length of what a site changed: ``|w_k - w|`` over all tensors."""
    total = 0.0
    with np.errstate(over="ignore"):
        for name, array in adaptor.items():
            for part in parts_of(array):
                change = (array[part] - sent[name][part]).ravel()
                total += float(np.dot(change, change))
    return math.sqrt(total)


class Cohort:
    """How far a round's updates went for their steps, a group of sites at a time.

    An update of length l on n examples takes s = ceil(n / batch) steps an epoch, and most of a step
    is noise, so that l grows with sqrt s. Let x = ln(l / sqrt s). It is odd where its robust
    z-score ``(x - m) / (1.4826 MAD)`` is above `bound`, m the median and MAD the median absolute
    deviation over the sound updates so far and this group's (Iglewicz and Hoaglin 1993), the
    divisor kept between `ALIKE` and `APART`. Only upwards: who moves little does little harm. Who
    claims more examples than it has may go further, as it weighs more: up to what it announced.

    Parameters
    ----------
    bound : float
        0 judges nobody by the others.
    batch : int
        Examples of a step.
    """

    def __init__(self, bound: float, batch: int) -> None:
        self._bound = bound
        self._batch = batch
        self._sound: list[float] = []

    def judge(self, updates: Sequence[tuple[float, int]]) -> list[str]:
        """Return for each (length, examples) why it is not plausible; empty for one that is."""
        far = [self._far(*update) if update[0] <= MAX_LENGTH else math.nan for update in updates]
        known = [x for x in far if math.isfinite(x)]
        highest, usual = self._highest([*self._sound, *known])
        self._sound += [x for x in known if x <= highest]
        return [
            _too_long(length) if math.isnan(x) else _odd(length, x - usual) if x > highest else ""
            for (length, _), x in zip(updates, far, strict=True)
        ]

    def _far(self, length: float, examples: int) -> float:
        """Return x of an update; minus infinity for one that changes nothing."""
        steps = math.ceil(examples / self._batch)
        return math.log(length) - math.log(steps) / 2 if length else -math.inf

    def _highest(self, known: Sequence[float]) -> tuple[float, float]:
        """Return the highest plausible x, and the usual one."""
        if not self._bound or len(known) < FEWEST:
            return math.inf, math.nan
        median = float(np.median(known))
        deviation = NORMAL * float(np.median(np.abs(np.array(known) - median)))
        return median + self._bound * min(max(deviation, ALIKE), APART), median


def _too_long(length: float) -> str:
    return f"its update has length {length:.3g}, above all that can be ({MAX_LENGTH:.0e})"


def _odd(length: float, further: float) -> str:
    times = f"{math.exp(further):.3g} times"
    return f"its update has length {length:.3g}, {times} what is usual for its examples"
