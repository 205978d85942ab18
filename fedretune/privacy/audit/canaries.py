"""What an audit searches for: pieces of images, of their vectors, and names."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: Bytes of a piece: long enough that chance does not make it, short enough to survive any cut.
PIECE = 16
#: Where pieces are taken from, as shares of the whole.
PLACES = (0.2, 0.5, 0.8)
#: A piece with fewer different bytes than these, such as black pixels, is found anywhere.
VARIED = 6
#: A shorter name is found by chance.
SHORTEST_NAME = 6


@dataclass(frozen=True)
class Canary:
    """An image of a site, in all the forms in which it could leave.

    Parameters
    ----------
    name : str
        The image's, as the manifest has it.
    patient : str
    file : bytes
        As it lies on the disk.
    pixels : uint8 array [H, W]
    vector : float16 array [d]
        What the backbone makes of it.
    """

    name: str
    patient: str
    file: bytes
    pixels: NDArray[np.uint8]
    vector: NDArray[np.float16]

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """Yield what each form is called, and its bytes."""
        yield "file", self.file
        yield "pixels", self.pixels.tobytes()
        yield "pixels as float32", self.pixels.astype("<f4").tobytes()
        for dtype, code in (("float16", "f2"), ("float32", "f4"), ("float64", "f8")):
            for order, endian in (("<", ""), (">", ", big-endian")):
                yield f"vector as {dtype}{endian}", self.vector.astype(order + code).tobytes()

    def pieces(self) -> Iterator[tuple[str, bytes]]:
        """Yield pieces of `PIECE` bytes from several places of each form."""
        for form, content in self.forms():
            for place in PLACES:
                if piece := _piece(content, place):
                    yield form, piece


@dataclass(frozen=True)
class Canaries:
    """Pieces and names of many images.

    Parameters
    ----------
    pieces : dict of bytes to (image, form)
        Each of `PIECE` bytes.
    names : frozenset[bytes]
        Of images and patients, those that are long enough not to appear by chance.
    images : int
    unsearched : int
        Names too short to be searched for.
    """

    pieces: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    names: frozenset[bytes] = frozenset()
    images: int = 0
    unsearched: int = 0

    @classmethod
    def of(cls, canaries: Iterable[Canary]) -> "Canaries":
        """Return what is searched for of these images."""
        pieces: dict[bytes, tuple[str, str]] = {}
        names: set[str] = set()
        images = 0
        for each in canaries:
            images += 1
            names |= {each.name.rpartition("/")[2], each.patient}
            pieces.update({piece: (each.name, form) for form, piece in each.pieces()})
        long = frozenset(name.encode() for name in names if len(name) >= SHORTEST_NAME)
        return cls(pieces, long, images, len(names) - len(long))


def _piece(content: bytes, place: float) -> bytes:
    """Return the first varied piece from a place on; nothing where there is none.

    At a multiple of 8 bytes, so that it holds whole numbers.
    """
    start = int(place * len(content)) // 8 * 8
    for at in range(start, len(content) - PIECE + 1, 8):
        piece = content[at : at + PIECE]
        if len(set(piece)) >= VARIED:
            return piece
    return b""
