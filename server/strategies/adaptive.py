"""The server's adaptive optimizers, algorithm 2 of Reddi et al. 2021 (arXiv 2003.00295).

With D the mean of the replies minus the adaptor that was sent:
``m <- beta_1 m + (1 - beta_1) D``, v as each has it, ``w <- w + server_lr m / (sqrt(v) + tau)``;
m at first 0 and v at first tau^2. Ours rather than Flower's, which learn what was sent from
`configure_train`, keep their moments to themselves, and begin with v = 0; its FedAdam corrects
the bias of the moments, which the paper does not, and counts one round too many in it.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedretune.strategies import Parameters
from server.aggregation import Arrays
from server.strategies.fold import Floats, MeanFold, Setup, State

FIRST, SECOND = "first-moment", "second-moment"
#: From v and D^2, both of one tensor, to the next v.
SecondMoment = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def adaptive(
    setup: Setup, current: Arrays, state: State, beta_1: float, second: SecondMoment
) -> MeanFold:
    """Return a fold that takes an adaptive step towards the mean."""
    step = partial(adaptive_step, setup.parameters, beta_1, second)
    return MeanFold(setup, current, state, step)


def adaptive_step(
    parameters: Parameters,
    beta_1: float,
    second: SecondMoment,
    current: Floats,
    mean: Floats,
    state: State,
) -> tuple[Floats, State]:
    """Return the adaptor after the step, and both moments."""
    tau = parameters["tau"]
    m, v, stepped = {}, {}, {}
    for name, weight in current.items():
        change = mean[name] - weight
        before = state[FIRST][name] if state else np.zeros_like(weight)
        spread = state[SECOND][name] if state else np.full_like(weight, tau**2)
        m[name] = beta_1 * before + (1 - beta_1) * change
        v[name] = second(spread, np.square(change))
        stepped[name] = weight + parameters["server_lr"] * m[name] / (np.sqrt(v[name]) + tau)
    return stepped, {FIRST: m, SECOND: v}
