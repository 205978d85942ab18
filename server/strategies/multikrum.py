"""`multikrum`: the mean of the best replies by Krum's score, Blanchard et al. 2017. Flower's.

``selected`` is their number m; 0 stands for n - f - 2. The bound is `krum`'s, for up to n - f of
them.
"""

from collections.abc import Mapping, Sequence

from flwr.serverapp.strategy import MultiKrum

from fedretune.wire import Array
from server.aggregation import Arrays
from server.strategies.flower import aggregated
from server.strategies.fold import CollectedFold, Setup, State, Update


def multikrum(setup: Setup, current: Arrays, state: State) -> CollectedFold:
    """Return a fold that gives the mean of the selected replies."""
    attackers, selected = (int(setup.parameters[name]) for name in ("attackers", "selected"))

    def rule(updates: Sequence[Update]) -> Mapping[str, Array]:
        number = selected or len(updates) - attackers - 2
        strategy = MultiKrum(num_malicious_nodes=attackers, num_nodes_to_select=number)
        return aggregated(strategy, updates)

    return CollectedFold(current, rule)
