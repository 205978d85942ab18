"""`topk`: the largest values alone, each with its place: 3 bytes a value that is sent.

Aji & Heafield 2017 (arXiv 1704.05021), by blocks, so that a place takes one byte.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.compression.base import Arrays, Compression, UnsoundError, Vector

#: Most values of a block: its places are uint8.
BLOCK = 256
_LARGEST = np.float32(np.finfo(np.float16).max)


class TopK(Compression):
    """From each of B blocks of at most 256 values, the k that are farthest from zero.

    Block b has every B-th value from the b-th on, so that each is a fair sample of all tensors,
    and their sizes differ by one at most. k is `share` of a block, at least one value.
    """

    @property
    def blocks(self) -> int:
        """B, the number of blocks."""
        return -(-self.length // BLOCK)

    @property
    def kept(self) -> int:
        """The number k of values that are sent of each block; the smallest block has as many."""
        smallest = self.length // self.blocks
        return min(smallest, max(1, round(self.share * smallest)))

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return ``places`` in a block, uint8, and the ``values`` there, float16: ``[B, k]``."""
        shape = (self.blocks, self.kept)
        return {"places": (shape, "uint8"), "values": (shape, "float16")}

    def encode(self, update: Vector) -> dict[str, NDArray[Any]]:
        """Return the largest values of each block, in the order of their places."""
        widest = -(-self.length // self.blocks)
        # Below anything: a place that is in no block is never among the largest.
        distances = np.full(widest * self.blocks, -1, np.float32)
        distances[: self.length] = np.abs(update)
        by_block = distances.reshape(widest, self.blocks).T
        largest = np.argpartition(by_block, widest - self.kept, axis=1)[:, widest - self.kept :]
        places = np.sort(largest, axis=1)
        values = np.clip(update[self._positions(places)], -_LARGEST, _LARGEST)
        return {"places": places.astype(np.uint8), "values": values.astype(np.float16)}

    def decode(self, encoded: Arrays) -> Vector:
        """Return the values at their places, zeros elsewhere.

        Raises `UnsoundError` for places that do not rise or are in no block, and for Inf and NaN.
        """
        places, values = encoded["places"].astype(np.int64), encoded["values"]
        if not np.isfinite(values).all():
            raise UnsoundError("the update has values that are not finite")
        if (np.diff(places, axis=1) <= 0).any():
            raise UnsoundError("the update's places do not rise")
        positions = self._positions(places)
        if (positions >= self.length).any():
            raise UnsoundError("a place of the update is in no block")
        update = np.zeros(self.length, np.float32)
        update[positions] = values
        return update

    def _positions(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return places * self.blocks + np.arange(self.blocks)[:, None]
