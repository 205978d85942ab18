"""`scaffold`: control variates against client drift, Karimireddy et al. 2020 (arXiv 1910.06378).

With S the sites of the round, of N: ``x <- x + server_lr / |S| sum_i (y_i - x)`` and
``c <- c + 1 / N sum_i (c_i+ - c_i)``, where ``c_i+ - c_i = (x - y_i) / (K_i lr) - c`` (option II).
All sites count alike whatever their size, as there.
"""

from fedretune.strategies.scaffold import CONTROL
from fedretune.strategies.steps import told
from fedretune.wire import Array
from server.aggregation import Arrays, WeightedMean
from server.strategies.fold import Setup, State, Update, cast_like, floats


class ScaffoldFold:
    """The mean adaptor, and the mean of the gradients on the sites' ways, in constant memory."""

    def __init__(self, setup: Setup, current: Arrays, state: State) -> None:
        self._setup, self._current, self._start = setup, current, floats(current)
        self._control = state.get(CONTROL, {})
        self._adaptors, self._gradients = WeightedMean(), WeightedMean()
        self._count = 0

    def add(self, update: Update) -> None:
        """Add a site's adaptor, and by its steps the gradients that led there."""
        scale = 1 / (told(update.scalars) * self._setup.lr)
        way = {name: scale * (each - update.arrays[name]) for name, each in self._start.items()}
        self._adaptors.add(update.arrays, 1)
        self._gradients.add(way, 1)
        self._count += 1

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the adaptor after the step, and c. Raises `ValueError` if nothing was added."""
        mean, rate = self._adaptors.mean(), self._setup.parameters["server_lr"]
        found = {name: each + rate * (mean[name] - each) for name, each in self._start.items()}
        share, after = self._count / self._setup.sites, {}
        for name, gradient in self._gradients.mean().items():
            before = self._control.get(name, 0.0)
            after[name] = before + share * (gradient - before)
        return cast_like(self._current, found), {CONTROL: after}


#: A strategy, as the others are functions.
scaffold = ScaffoldFold
