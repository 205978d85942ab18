"""`krum`: the one reply nearest to its neighbours, Blanchard et al. 2017 (NeurIPS). Flower's.

A reply's score is the sum of its squared distances to the n - f - 2 nearest others, n the replies
and f the attackers; the smallest wins. What f attackers send, with n >= 2 f + 3, can win only
within ``sqrt(n - f - 2)`` times the honest replies' diameter of one of them.
"""

from functools import partial

from flwr.serverapp.strategy import Krum

from server.aggregation import Arrays
from server.strategies.flower import aggregated
from server.strategies.fold import CollectedFold, Setup, State


def krum(setup: Setup, current: Arrays, state: State) -> CollectedFold:
    """Return a fold that gives the reply with the smallest score."""
    strategy = Krum(num_malicious_nodes=int(setup.parameters["attackers"]))
    return CollectedFold(current, partial(aggregated, strategy))
