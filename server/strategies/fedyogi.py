"""`fedyogi`: ``v <- v - (1 - beta_2) D^2 sign(v - D^2)``. See `server.strategies.adaptive`."""

import numpy as np
from numpy.typing import NDArray

from server.aggregation import Arrays
from server.strategies.adaptive import adaptive
from server.strategies.fold import MeanFold, Setup, State


def fedyogi(setup: Setup, current: Arrays, state: State) -> MeanFold:
    """Return a fold that takes Yogi's step."""
    beta_2 = setup.parameters["beta_2"]

    def second(v: NDArray[np.float64], squared: NDArray[np.float64]) -> NDArray[np.float64]:
        return v - (1 - beta_2) * squared * np.sign(v - squared)

    return adaptive(setup, current, state, setup.parameters["beta_1"], second)
