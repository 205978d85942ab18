"""`int8`: whole numbers from -127 to 127, times a scale for each tensor: 1 byte a value."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.compression.base import Arrays, Compression, UnsoundError, Vector

MOST = 127
#: Values are clipped to it, so that a scale that was rounded up gives no infinity.
_LARGEST = np.float32(1e38)


class Int8(Compression):
    """A value's error is at most half its tensor's scale, which is the largest value's 127th."""

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return ``values``, int8 ``[N]``, and ``scales``, float32, one for each tensor."""
        return {"values": ((self.length,), "int8"), "scales": ((len(self.sizes),), "float32")}

    def encode(self, update: Vector) -> dict[str, NDArray[Any]]:
        """Return the values over their scales, rounded."""
        return quantised(update, list(self.sizes.values()))

    def decode(self, encoded: Arrays) -> Vector:
        """Return the values times their scales. Raises `UnsoundError` for what has no sense."""
        return dequantised(encoded, list(self.sizes.values()))


def quantised(values: Vector, lengths: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Return int8 ``values`` and float32 ``scales``, one for each of the parts of these lengths."""
    starts = np.cumsum([0, *lengths[:-1]])
    largest = np.minimum(np.maximum.reduceat(np.abs(values), starts), _LARGEST)
    scales = largest / np.float32(MOST)
    # Of a part without values, or with such slight ones that their scale is no number any more.
    divisors = np.repeat(np.where(scales > 0, scales, np.float32(np.inf)), lengths)
    # A scale so small that it was rounded itself may give more than 127.
    rounded = np.clip(np.rint(values / divisors), -MOST, MOST)
    return {"values": rounded.astype(np.int8), "scales": scales}


def dequantised(encoded: Arrays, lengths: Sequence[int]) -> Vector:
    """Return what `quantised` was given, but for rounding. Raises `UnsoundError`."""
    values, scales = encoded["values"], encoded["scales"]
    if not np.isfinite(scales).all() or (scales < 0).any():
        raise UnsoundError("a scale of the update is not finite, or is negative")
    if (values < -MOST).any():
        raise UnsoundError(f"a value of the update is below -{MOST}")
    with np.errstate(over="ignore"):
        found: Vector = values * np.repeat(scales, lengths)
    return found
