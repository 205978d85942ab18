"""`fedmedian`: the median of each number, Yin et al. 2018 (arXiv 1803.01498). Flower's.

Fewer than half of the sites, whatever they send, leave each number between two of the others'.
"""

from functools import partial

from flwr.serverapp.strategy import FedMedian

from server.aggregation import Arrays
from server.strategies.flower import aggregated
from server.strategies.fold import CollectedFold, Setup, State


def fedmedian(setup: Setup, current: Arrays, state: State) -> CollectedFold:
    """Return a fold that gives the median."""
    return CollectedFold(current, partial(aggregated, FedMedian()))
