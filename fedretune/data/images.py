"""Opening a radiograph as an 8-bit image that a backbone's preprocessing accepts."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from fedretune.errors import UserError

#: Part of the key of stored vectors: raise it when the same file decodes to other pixels.
DECODING = 1

#: Bits a pixel that an image may really have.
DEPTHS = (8, 12, 16)

#: Modes of Pillow that hold more than 8 bits a pixel.
_DEEP = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})


def open_image(path: str | Path) -> Image.Image:
    """Decode an image file in full.

    A file of more than 8 bits a pixel is scaled from the range of its bit depth, the smallest of
    `DEPTHS` that holds its brightest pixel: radiographs of 12 bits are commonly stored in 16. The
    image's own range is not stretched, which would make a vector hang on one bright pixel.

    Returns
    -------
    PIL.Image.Image
        Mode ``L`` or ``RGB``, 8 bits.

    Raises
    ------
    UserError
        The file is missing, truncated or not an image; the message names it.
    """
    return decode_image(read_image(path), path)


def read_image(path: str | Path) -> bytes:
    """Return the bytes of an image file. Raises `UserError` if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"There is no image {path}.") from error
    except OSError as error:
        raise UserError(f"Cannot read the image {path}: {error.strerror}.") from error


def decode_image(content: bytes, path: str | Path) -> Image.Image:
    """Decode the bytes of an image file, named `path` in messages; see `open_image`."""
    try:
        with Image.open(BytesIO(content)) as image:
            image.load()
            return _to_eight_bits(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow reports a broken PNG chunk as a SyntaxError.
        raise UserError(
            f"Cannot read the image {path} ({error}). Replace the file, or take its line out of "
            "the manifest."
        ) from error


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        pixels = np.asarray(image).astype(np.float64)
        if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError(f"pixels of mode {image.mode} outside 0 to 65535")
        top = next(2**bits - 1 for bits in DEPTHS if pixels.max() < 2**bits)
        return Image.fromarray(np.round(pixels * (255 / top)).astype(np.uint8))
    if image.mode in ("L", "RGB"):
        return image.copy()
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")
