"""The rate of each step: up from 0 in a straight line, then down by half a cosine."""

import math


def rate_at(epoch: float, peak: float, epochs: int, warm_up: int, least: float) -> float:
    """Return the learning rate at a place of the training, as the study's (and MAE's) code has it.

    ``peak t / w`` for t < w, else ``least + (peak - least) (1 + cos(pi (t - w) / (T - w))) / 2``,
    with t the epochs done, w those of warm-up and T all.

    Parameters
    ----------
    epoch : float
        Epochs done, with the part of the one that is under way.
    peak, least : float
    epochs, warm_up : int
        A training of no more epochs than its warm-up ends at the part of the peak that it came to.
    """
    if epoch < warm_up:
        return peak * epoch / warm_up
    place = (epoch - warm_up) / max(epochs - warm_up, 1)
    return least + (peak - least) * 0.5 * (1.0 + math.cos(math.pi * place))
