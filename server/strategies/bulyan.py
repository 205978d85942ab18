"""`bulyan`: Krum again and again, then a trimmed mean, El Mhamdi et al. 2018 (arXiv 1802.07927).

Of n >= 4 f + 3 replies, n - 2 f are selected: the winner by Krum's score, then the winner among
the rest, and so on. Then, of each number, the mean of the n - 4 f values nearest to the median of
the selected. What f attackers send moves no number further out of the honest replies' range than
that range is wide. Ours rather than Flower's, which selects the n - 2 f best scores at once, where
the paper scores the rest anew, and collects Python's garbage once a reply: a second a round.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedretune.wire import Array
from server.aggregation import Arrays
from server.strategies.fold import CollectedFold, Setup, State, Update


def bulyan(setup: Setup, current: Arrays, state: State) -> CollectedFold:
    """Return a fold that gives Bulyan's mean."""
    attackers = int(setup.parameters["attackers"])

    def rule(updates: Sequence[Update]) -> Mapping[str, Array]:
        stacks = {
            name: np.stack([each.arrays[name] for each in updates]).astype(np.float64)
            for name in current
        }
        chosen = winners(distances(stacks), attackers, len(updates) - 2 * attackers)
        number = len(chosen) - 2 * attackers
        return {name: nearest_mean(stack[chosen], number) for name, stack in stacks.items()}

    return CollectedFold(current, rule)


def distances(stacks: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the squared distances ``[n, n]`` of n adaptors, from each tensor's ``[n, ...]``."""
    flat = [stack.reshape(len(stack), -1) for stack in stacks.values()]
    rows = range(len(flat[0]))
    return np.stack([sum(np.square(each - each[row]).sum(axis=1) for each in flat) for row in rows])


def winners(squared: NDArray[np.float64], attackers: int, number: int) -> list[int]:
    """Return the winners of `number` rounds of Krum, each among those that have not won yet."""
    rest, found = list(range(len(squared))), list[int]()
    while len(found) < number:
        near = np.sort(squared[np.ix_(rest, rest)], axis=1)
        # Each row's first is its distance to itself.
        scores = near[:, 1 : 1 + max(1, len(rest) - attackers - 2)].sum(axis=1)
        found.append(rest.pop(int(scores.argmin())))
    return found


def nearest_mean(stack: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """Return, of each number in a stack ``[n, ...]``, the mean of those nearest to their median."""
    order = np.argsort(np.abs(stack - np.median(stack, axis=0)), axis=0, kind="stable")
    mean: NDArray[np.float64] = np.take_along_axis(stack, order[:number], axis=0).mean(axis=0)
    return mean
