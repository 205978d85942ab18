"""`scaffold`: control variates against client drift, Karimireddy et al. 2020 (arXiv 1910.06378).

With S the sites of the round, of N: ``x <- x + server_lr / |S| sum_i (y_i - x)`` and
``c <- c + 1 / N sum_i (c_i+ - c_i)``, all sites counting alike whatever their size, as there.
"""

from fedretune.strategies.scaffold import CONTROL
from fedretune.wire import Array
from server.aggregation import Arrays, WeightedMean
from server.strategies.fold import Setup, State, Update, cast_like, floats


class ScaffoldFold:
    """The two sums, in constant memory."""

    def __init__(self, setup: Setup, current: Arrays, state: State) -> None:
        self._setup, self._current, self._state = setup, current, state
        self._adaptors, self._changes = WeightedMean(), WeightedMean()
        self._count = 0

    def add(self, update: Update) -> None:
        """Add a site's adaptor, and the change of its control variate."""
        self._adaptors.add(update.arrays, 1)
        self._changes.add(update.records[CONTROL], 1)
        self._count += 1

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the adaptor after the step, and c. Raises `ValueError` if nothing was added."""
        mean, change = self._adaptors.mean(), self._changes.mean()
        rate, share = self._setup.parameters["server_lr"], self._count / self._setup.sites
        start, control = floats(self._current), self._state.get(CONTROL, {})
        found = {name: each + rate * (mean[name] - each) for name, each in start.items()}
        after = {name: control.get(name, 0.0) + share * each for name, each in change.items()}
        return cast_like(self._current, found), {CONTROL: after}


#: A strategy, as the others are functions.
scaffold = ScaffoldFold
