"""`bf16`: the upper half of each float32, rounded to nearest even: 2 bytes a value."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.compression.base import Arrays, Compression, UnsoundError, Vector

#: The largest finite number, 0x7F7F.
LARGEST = np.uint32(0x7F7F0000).view(np.float32)
_EXPONENT = np.uint16(0x7F80)


class Bf16(Compression):
    """Eight bits of exponent as in float32, seven of mantissa: a relative error of at most 2^-8.

    NumPy has no such dtype: the bits travel as uint16.
    """

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return ``values``, uint16 ``[N]``."""
        return {"values": ((self.length,), "uint16")}

    def encode(self, update: Vector) -> dict[str, NDArray[Any]]:
        """Return the values' upper halves; what would round to infinity is the largest number."""
        bits = np.clip(update, -LARGEST, LARGEST).view(np.uint32)
        halfway = np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
        return {"values": ((bits + halfway) >> np.uint32(16)).astype(np.uint16)}

    def decode(self, encoded: Arrays) -> Vector:
        """Return the values with lower halves of zeros. Raises `UnsoundError` for Inf and NaN."""
        bits = encoded["values"]
        if ((bits & _EXPONENT) == _EXPONENT).any():
            raise UnsoundError("the update has values that are not finite")
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
