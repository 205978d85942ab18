"""Whole numbers modulo ``2 ** (8 width)``: what masked vectors are and add up in."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.errors import UserError

#: Elements of a ring: its numbers modulo 2**64, of which the lowest bytes count.
Elements = NDArray[np.uint64]
#: Bytes of the largest ring.
WIDEST = 8


@dataclass(frozen=True)
class Ring:
    """The whole numbers modulo ``2 ** (8 width)``; `width`, 1 to 8, is in bytes a number."""

    width: int

    @classmethod
    def holding(cls, most: int) -> "Ring":
        """Return the smallest ring in which no two whole numbers from -most to most are the same.

        Raises
        ------
        UserError
            There is none of at most 8 bytes.
        """
        width = -(-(most.bit_length() + 1) // 8)
        if width > WIDEST:
            raise UserError(
                f"A sum of up to {most} does not fit into {WIDEST} bytes: lower "
                "secure-clip or secure-examples."
            )
        return cls(width)

    @property
    def most(self) -> int:
        """The largest number that is not taken for a negative one."""
        return int(2 ** (8 * self.width - 1) - 1)

    def pack(self, elements: Elements) -> NDArray[np.uint8]:
        """Return elements ``[n]`` as bytes ``[n, width]``, the lowest first."""
        stored = np.ascontiguousarray(elements, dtype="<u8")
        return np.ascontiguousarray(stored.view(np.uint8).reshape(-1, WIDEST)[:, : self.width])

    def unpack(self, packed: NDArray[Any]) -> Elements:
        """Return the elements ``[n]`` of bytes ``[n, width]``."""
        filled = np.zeros((len(packed), WIDEST), np.uint8)
        filled[:, : self.width] = packed
        return filled.reshape(-1).view("<u8").astype(np.uint64)

    def signed(self, elements: Elements) -> NDArray[np.int64]:
        """Return the numbers, int64, from ``-most - 1`` to ``most``, that elements stand for."""
        unused = np.uint64(8 * (WIDEST - self.width))
        return (elements << unused).view(np.int64) >> np.int64(unused)


def elements_of(numbers: NDArray[np.int64]) -> Elements:
    """Return the elements that whole numbers are, of any ring that holds them."""
    return numbers.astype(np.int64, copy=False).view(np.uint64)
