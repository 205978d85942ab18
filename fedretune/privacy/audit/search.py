"""Thousands of pieces in many megabytes, at every offset."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedretune.privacy.audit.canaries import PIECE, Canaries
from fedretune.privacy.audit.unwrap import unwrapped

#: Bits of a key's hash: most offsets are passed over by one look into a table of so many entries.
_BITS = 24
_WORDS = re.compile(rb"[\w.-]+")
#: Offsets that are looked at together.
_BLOCK = 2**20


@dataclass(frozen=True)
class Search:
    """What was found in one message.

    Parameters
    ----------
    image : str
        Whose, as the manifest has it; or a name itself.
    form : str
        In which form: ``file``, ``pixels``, ``vector as float16``, ``name``, ...
    how : str
        ``raw``, or behind which encoding.
    """

    image: str
    form: str
    how: str


@dataclass(frozen=True, eq=False)
class Index:
    """Canaries, to be looked up by the first eight bytes of each piece; made once for a search."""

    canaries: Canaries

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        first = sorted({piece[:8] for piece in self.canaries.pieces})
        return np.sort(np.frombuffer(b"".join(first), np.uint64))

    @cached_property
    def table(self) -> NDArray[np.bool_]:
        table = np.zeros(2**_BITS, dtype=bool)
        table[_hashed(self.keys)] = True
        return table

    def find(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Yield the image and the form of every piece in `data`."""
        for start in range(0, len(data), _BLOCK):
            block = data[start : start + _BLOCK + PIECE - 1]
            for at in self._candidates(block):
                if found := self.canaries.pieces.get(block[at : at + PIECE]):
                    yield found

    def _candidates(self, block: bytes) -> list[int]:
        """Return the offsets at which the first eight bytes of a piece stand."""
        found: list[int] = []
        for shift in range(8):
            count = (len(block) - shift) // 8
            if count <= 0:
                break
            words = np.frombuffer(block, np.uint64, count, shift)
            (places,) = np.nonzero(self.table[_hashed(words)])
            hits = places[np.isin(words[places], self.keys)]
            found += (hits * 8 + shift).tolist()
        return found


def search_for(index: Index, data: bytes) -> list[Search]:
    """Return what is in `data`, raw or behind an encoding, each thing once."""
    found: dict[Search, None] = {}
    for how, content in unwrapped(data):
        for image, form in index.find(content):
            found[Search(image, form, how)] = None
        for word in set(_WORDS.findall(content)) & index.canaries.names:
            found[Search(word.decode(), "name", how)] = None
    return list(found)


def _hashed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return `_BITS` bits of each word, by Fibonacci hashing (Knuth, volume 3, section 6.4)."""
    return (words * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _BITS)
