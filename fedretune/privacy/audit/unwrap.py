"""Bytes, and what is hidden in them behind an encoding that undoes itself."""

import base64
import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

#: Encodings inside encodings that are followed.
DEPTH = 3
#: Most bytes of one hidden stream that are looked at.
MOST = 2**24
#: Fewer bytes than these hide nothing that is searched for.
LEAST = 16

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
_HEX = re.compile(rb"[0-9a-fA-F]{32,}")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
#: Bytes that a stream is read by: what comes before the first unsound ones is kept.
_CHUNK = 1024


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


#: The first two bytes of a zlib stream, RFC 1950, section 2.2: a multiple of 31 with method 8.
_ZLIB = b"|".join(
    re.escape(bytes([first, second]))
    for first in range(0x08, 0x80, 0x10)
    for second in range(256)
    if (first * 256 + second) % 31 == 0
)
#: How each kind of compressed stream begins, and what reads one from there. Looking ahead, as one
#: may begin inside what looked like the beginning of another.
_STREAMS: dict[str, tuple[re.Pattern[bytes], Callable[[], _Decompressor]]] = {
    "zlib": (re.compile(rb"(?s)(?=" + _ZLIB + rb")"), zlib.decompressobj),
    "gzip": (re.compile(rb"(?=\x1f\x8b\x08)"), partial(zlib.decompressobj, 31)),
    "bzip2": (re.compile(rb"(?=BZh[1-9]1AY&SY)"), bz2.BZ2Decompressor),
    "xz": (re.compile(rb"(?=\xfd7zXZ\x00)"), lzma.LZMADecompressor),
}


def unwrapped(data: bytes, depth: int = DEPTH) -> Iterator[tuple[str, bytes]]:
    """Yield ``("raw", data)``, and what is behind base64, hex, zlib, gzip, bzip2 and xz in it.

    Also behind one in another, `depth` deep: "zlib in base64". A stream may begin anywhere. A raw
    DEFLATE stream without any header is not found, nor is what was encrypted.
    """
    yield "raw", data
    if depth:
        for how, found in (*_texts(data), *_streams(data)):
            for inner, content in unwrapped(found, depth - 1):
                yield how if inner == "raw" else f"{inner} in {how}", content


def _texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield texts decoded from each place in a group: what stands before may look like a part."""
    for match in _BASE64.finditer(data):
        letters = match[0].translate(_URL_SAFE)
        for rest in (letters[skipped:] for skipped in range(4)):
            yield "base64", base64.b64decode(rest + b"A" * (-len(rest) % 4))
    for match in _HEX.finditer(data):
        digits = match[0].decode()
        for pairs in (digits, digits[1:]):
            yield "hex", bytes.fromhex(pairs[: len(pairs) // 2 * 2])


def _streams(data: bytes) -> Iterator[tuple[str, bytes]]:
    for how, (start, reader) in _STREAMS.items():
        for match in start.finditer(data):
            found = _read(reader(), data, match.start())
            if len(found) >= LEAST:
                yield how, found


def _read(stream: _Decompressor, data: bytes, start: int) -> bytes:
    """Return what a stream that begins at `start` holds, up to its first unsound bytes."""
    found = bytearray()
    try:
        for at in range(start, len(data), _CHUNK):
            found += stream.decompress(data[at : at + _CHUNK], MOST)
            if len(found) > MOST or getattr(stream, "eof", False):
                break
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError):
        pass
    return bytes(found)
