"""`bulyan`: Krum again and again, then a trimmed mean, El Mhamdi et al. 2018 (arXiv 1802.07927).

Of n >= 4 f + 3 replies, n - 2 f are selected: the winner by Krum's score, then the winner among
the rest, and so on. Then, of each number, the mean of the n - 4 f values nearest to the median of
the selected. What f attackers send moves no number further out of the honest replies' range than
that range is wide. The second part is Flower's; its selection is not, since it takes the n - 2 f
best scores at once, where the paper scores the rest anew.
"""

from functools import partial

import numpy as np
from flwr.app import ArrayRecord, RecordDict
from flwr.serverapp.strategy import Bulyan
from numpy.typing import NDArray

from server.aggregation import Arrays
from server.strategies.flower import aggregated
from server.strategies.fold import CollectedFold, Setup, State


def bulyan(setup: Setup, current: Arrays, state: State) -> CollectedFold:
    """Return a fold that gives Bulyan's mean."""
    attackers = int(setup.parameters["attackers"])
    strategy = Bulyan(num_malicious_nodes=attackers, selection_rule=selected)
    return CollectedFold(current, partial(aggregated, strategy))


def selected(contents: list[RecordDict], attackers: int, number: int) -> list[RecordDict]:
    """Return the winners of `number` rounds of Krum, each among those that have not won yet."""
    vectors = np.stack([_vector(next(iter(each.array_records.values()))) for each in contents])
    return [contents[place] for place in winners(distances(vectors), attackers, number)]


def distances(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared distance between each two rows."""
    return np.stack([np.square(vectors - row).sum(axis=1) for row in vectors])


def winners(squared: NDArray[np.float64], attackers: int, number: int) -> list[int]:
    """Return the positions of the winners, first to last, from the squared distances ``[n, n]``."""
    rest, found = list(range(len(squared))), list[int]()
    while len(found) < number:
        near = np.sort(squared[np.ix_(rest, rest)], axis=1)
        # Each row's first is its distance to itself.
        scores = near[:, 1 : 1 + max(1, len(rest) - attackers - 2)].sum(axis=1)
        found.append(rest.pop(int(scores.argmin())))
    return found


def _vector(arrays: ArrayRecord) -> NDArray[np.float64]:
    return np.concatenate([array.numpy().ravel() for array in arrays.values()])
