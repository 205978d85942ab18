"""`fedtrimmedavg`: the mean without both ends, Yin et al. 2018 (arXiv 1803.01498). Flower's.

Of each number the largest and the smallest ``trimmed`` share are cut off, each rounded down to
whole sites. No more sites than are cut off at one end, whatever they send, leave each number
between two of the others'.
"""

from functools import partial

from flwr.serverapp.strategy import FedTrimmedAvg

from server.aggregation import Arrays
from server.strategies.flower import aggregated
from server.strategies.fold import CollectedFold, Setup, State


def fedtrimmedavg(setup: Setup, current: Arrays, state: State) -> CollectedFold:
    """Return a fold that gives the trimmed mean."""
    strategy = FedTrimmedAvg(beta=setup.parameters["trimmed"])
    return CollectedFold(current, partial(aggregated, strategy))
