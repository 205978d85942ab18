"""A lower bound of epsilon from guesses about one training run.

Steinke, Nasr & Jagielski 2023, "Privacy Auditing with One (1) Training Run" (arXiv 2305.08846). Of
m canaries each was trained on or not, by the toss of a fair coin. An attacker guesses for r of
them, and v guesses are right. If training were (epsilon, delta)-private, then (corollary 5.4) the
chance of so many right ones would be at most ``P[B >= v] + 2 m delta max_i P[v - i <= B < v] / i``
with B binomial, of r trials with the chance ``1 / (1 + exp(-epsilon))`` each. The largest epsilon
for which that chance is too small is refuted.
"""

import math

import numpy as np

#: An audit may be wrong this often.
LEVEL = 0.05
#: No guesses refute more: it would take more canaries than fit into memory.
MOST = 64.0


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Return how likely so many right guesses are at most, were training (epsilon, delta)-private.

    Raises ValueError unless ``0 <= right <= guesses <= canaries``.
    """
    if not 0 <= right <= guesses <= canaries:
        raise ValueError(f"{right} right guesses of {guesses} about {canaries} canaries")
    from scipy.stats import binom

    chance = 1 / (1 + math.exp(-epsilon))
    beyond = float(binom.sf(right - 1, guesses, chance))
    if not right:
        return 1.0
    below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, chance))
    slack = float((below / np.arange(1, right + 1)).max())
    return min(1.0, beyond + 2 * canaries * delta * slack)


def epsilon_bound(
    canaries: int, guesses: int, right: int, delta: float, level: float = LEVEL
) -> float:
    """Return the largest epsilon, to 1e-4, that the guesses refute at `level`; 0 for none."""
    low, high = 0.0, MOST
    if p_value(canaries, guesses, right, low, delta) >= level:
        return 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        refuted = p_value(canaries, guesses, right, middle, delta) < level
        low, high = (middle, high) if refuted else (low, middle)
    return low
