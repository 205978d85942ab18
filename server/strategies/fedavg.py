"""`fedavg`: the mean of the sites' adaptors, McMahan et al. 2017 (arXiv 1602.05629).

Ours rather than Flower's, which holds all replies at once and adds up in their own dtype.
"""

from server.aggregation import Arrays
from server.strategies.fold import Floats, MeanFold, Setup, State


def fedavg(setup: Setup, current: Arrays, state: State) -> MeanFold:
    """Return a fold that gives the weighted mean."""
    return MeanFold(setup, current, state, to_mean)


def to_mean(current: Floats, mean: Floats, state: State) -> tuple[Floats, State]:
    """Go all the way to the mean; remember nothing."""
    return mean, {}
