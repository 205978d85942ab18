"""`fednova`: sites that take more steps count for no more, Wang et al. 2020 (arXiv 2007.07481).

Site i went from w to w_i in t_i steps, and p_i is its share of the examples:
``w <- w + (sum_i p_i t_i) sum_i p_i (w_i - w) / t_i``. With equal steps it is FedAvg. Without the
normalising, sites of more steps move what is minimised towards their own loss.
"""

from fedretune.strategies.steps import told
from fedretune.wire import Array
from server.aggregation import Arrays, WeightedMean
from server.strategies.fold import Setup, State, Update, cast_like, floats


class FedNovaFold:
    """The mean way of a step, and the mean number of steps, in constant memory."""

    def __init__(self, setup: Setup, current: Arrays, state: State) -> None:
        self._current, self._start = current, floats(current)
        self._ways = WeightedMean(setup.by_finding)
        self._examples, self._steps = 0, 0

    def add(self, update: Update) -> None:
        """Add a site's way, by its steps."""
        steps = told(update.scalars)
        way = {name: (update.arrays[name] - each) / steps for name, each in self._start.items()}
        self._ways.add(way, update.examples, update.records.get("counts", {}).get("positives"))
        self._examples += update.examples
        self._steps += update.examples * steps

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the next adaptor. Raises `ValueError` if nothing was added."""
        way = self._ways.mean()
        steps = self._steps / self._examples
        found = {name: each + steps * way[name] for name, each in self._start.items()}
        return cast_like(self._current, found), {}


#: A strategy, as the others are functions.
fednova = FedNovaFold
