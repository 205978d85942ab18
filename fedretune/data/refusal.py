"""Files that are not read, and why: also those so large that they would fill the memory."""

#: Pixels. The largest detectors of chest radiography give about 18 million.
MAX_PIXELS = 80_000_000

#: Bytes of a file: three colours of 16 bits, uncompressed, and room for a header.
MAX_BYTES = 2**29


class RefusedError(ValueError):
    """Why a file is no radiograph that can be read. Quotes nothing of its header."""


def check_size(width: int, height: int) -> None:
    """Raise `RefusedError` unless an image of this size may be decoded."""
    if width < 1 or height < 1:
        raise RefusedError("it has no pixels")
    if width * height > MAX_PIXELS:
        raise RefusedError(
            f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded, several times "
            "the largest radiograph"
        )
