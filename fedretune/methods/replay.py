"""`replay`: a bounded buffer of old image *vectors* and labels, which stays at the site.

After an experience the shard is offered to the buffer. The buffer is shared out evenly over
classes (an image's class is its rarest positive finding in its shard, or none), and within a
class every image ever offered has the same chance to be kept: each draws a number once, and the
largest stay. A class-balanced reservoir, after Chrysakis & Moens 2020 (ICML, PMLR 119).
"""

import numpy as np
from numpy.typing import NDArray

from fedretune.methods.method import Memory, Method, Remedy, Visit

_IMAGES, _LABELS, _CLASSES, _DRAWS = (
    "replay.images",
    "replay.labels",
    "replay.classes",
    "replay.draws",
)


def replay(method: Method) -> Method:
    """Return the method with a buffer of vectors at each site."""
    return method.with_remedy("replay", Replay)


class Replay(Remedy):
    """The buffer, of `size` images at a site."""

    def __init__(self, size: float) -> None:
        self.size = int(size)

    def after(self, memory: Memory, visit: Visit) -> Memory:
        """Offer the shard to the buffer."""
        labels = visit.labels.numpy()
        offered = {
            _IMAGES: visit.images.numpy(),
            _LABELS: labels,
            _CLASSES: rarest_positive(labels),
            _DRAWS: np.random.default_rng(visit.seed).random(len(labels)),
        }
        pool = {
            key: np.concatenate([memory[key], rows]) if key in memory else rows
            for key, rows in offered.items()
        }
        kept = balanced_reservoir(pool[_CLASSES], pool[_DRAWS], self.size)
        return {**memory, **{key: values[kept] for key, values in pool.items()}}

    def rows(self, memory: Memory) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return the buffer."""
        return (memory[_IMAGES], memory[_LABELS]) if _IMAGES in memory else None

    def most_rows(self) -> int:
        """Return the buffer's size."""
        return self.size

    def least_shard(self) -> int:
        """Return the buffer's size: a larger one would be no buffer, but the archive."""
        return self.size


def rarest_positive(labels: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return, for each row of labels ``[n, F]``, its positive finding of which there are fewest.

    F where a row has none.
    """
    positive = labels == 1
    rarity = np.where(positive, positive.sum(axis=0), len(labels) + 1)
    classes: NDArray[np.int64] = np.where(
        positive.any(axis=1), rarity.argmin(axis=1), labels.shape[1]
    )
    return classes


def balanced_reservoir(
    classes: NDArray[np.int64], draws: NDArray[np.float64], size: int
) -> NDArray[np.int64]:
    """Return the positions, ascending, of at most `size` rows, as even over classes as can be.

    Within a class those with the largest draws.
    """
    order = np.lexsort((-draws, classes))
    starts = np.searchsorted(classes[order], classes[order])
    rank = np.arange(len(order)) - starts  # 0 for the largest draw of its class
    # Rank by rank over all classes, so that small ones are kept whole and large ones share.
    turn = np.lexsort((-draws[order], rank))
    return np.sort(order[turn[:size]])
