"""`fedadagrad`: ``v <- v + D^2``, and no momentum. See `server.strategies.adaptive`."""

from operator import add

from server.aggregation import Arrays
from server.strategies.adaptive import adaptive
from server.strategies.fold import MeanFold, Setup, State


def fedadagrad(setup: Setup, current: Arrays, state: State) -> MeanFold:
    """Return a fold that takes Adagrad's step."""
    return adaptive(setup, current, state, 0.0, add)
