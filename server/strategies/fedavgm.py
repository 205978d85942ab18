"""`fedavgm`: a server with momentum, Hsu et al. 2019 (arXiv 1909.06335).

``v <- momentum * v + (w - mean)``, ``w <- w - server_lr * v``, v at first 0. Ours rather than
Flower's, which steps from the adaptor that it returned last, not from the one that was sent: they
differ at the end of an experience (``stream-mean``) and after a resume.
"""

from functools import partial

from fedretune.strategies import Parameters
from server.aggregation import Arrays
from server.strategies.fold import Floats, MeanFold, Setup, State

MOMENTUM = "momentum"


def fedavgm(setup: Setup, current: Arrays, state: State) -> MeanFold:
    """Return a fold that steps along the momentum of the mean updates."""
    return MeanFold(setup, current, state, partial(momentum_step, setup.parameters))


def momentum_step(
    parameters: Parameters, current: Floats, mean: Floats, state: State
) -> tuple[Floats, State]:
    """Return the adaptor after the step, and the momentum."""
    velocity = {name: current[name] - mean[name] for name in current}
    if MOMENTUM in state:
        velocity = {
            name: parameters["momentum"] * state[MOMENTUM][name] + change
            for name, change in velocity.items()
        }
    stepped = {name: current[name] - parameters["server_lr"] * velocity[name] for name in current}
    return stepped, {MOMENTUM: velocity}
