"""Opening a radiograph as an 8-bit image that a backbone's preprocessing accepts."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fedretune.data.refusal import MAX_BYTES, RefusedError, check_size
from fedretune.errors import UserError

#: Part of the key of stored vectors: raise it when the same file decodes to other pixels.
DECODING = 2

#: Bits a pixel that an image may really have.
DEPTHS = (8, 12, 16)

#: Suffixes of files that are DICOM even without the preamble that says so.
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})

#: Pillow's names. Its other formats are no radiograph's, and some run other programs.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "JPEG2000")

#: Modes of Pillow that hold more than 8 bits a pixel.
_DEEP = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # of TIFF


def open_image(path: str | Path) -> Image.Image:
    """Decode an image file in full: PNG, JPEG, TIFF, BMP, PGM, JPEG 2000 or DICOM.

    A DICOM file is shown as a viewer would show it (see `fedretune.data.dicom`). Another file of
    more than 8 bits a pixel is scaled from the range of its bit depth, the smallest of `DEPTHS`
    that holds its brightest pixel: radiographs of 12 bits are commonly stored in 16. The image's
    own range is not stretched, which would make a vector hang on one bright pixel. An image is
    turned as its EXIF orientation says, as those who labelled it saw it.

    Returns
    -------
    PIL.Image.Image
        Mode ``L`` or ``RGB``, 8 bits.

    Raises
    ------
    UserError
        The file is missing, truncated, too large, of several pages or frames, or not an image; the
        message names it.
    """
    return decode_image(read_image(path), path)


def read_image(path: str | Path) -> bytes:
    """Return an image file's bytes. Raises `UserError` if it cannot be read, or is too large."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"There is no image {path}.") from error
    except OSError as error:
        raise UserError(f"Cannot read the image {path}: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise _refused(path, f"more than {MAX_BYTES / 2**20:.0f} MiB are no radiograph")
    return content


def decode_image(content: bytes, path: str | Path) -> Image.Image:
    """Decode the bytes of an image file, named `path` in messages; see `open_image`."""
    try:
        if is_dicom(content, path):
            from fedretune.data.dicom import decode_dicom  # pydicom is no light import

            return decode_dicom(content)
        return _decode_picture(content)
    except UnidentifiedImageError as error:
        empty = "the file is empty" if not content else "it is no PNG, JPEG, TIFF, BMP or DICOM"
        raise _refused(path, empty) from error
    except Image.DecompressionBombError as error:
        raise _refused(path, "too many pixels for a radiograph") from error
    except Exception as error:  # broken bytes make Pillow raise nearly any
        raise _refused(path, str(error) or type(error).__name__) from error


def is_dicom(content: bytes, path: str | Path) -> bool:
    """Return whether a file, given at least its first 132 bytes, is to be read as DICOM."""
    return content[128:132] == b"DICM" or Path(path).suffix.lower() in DICOM_SUFFIXES


def _refused(path: str | Path, reason: str) -> UserError:
    return UserError(
        f"Cannot read the image {path} ({reason}). Replace the file, or take its line out of the "
        "manifest."
    )


def _decode_picture(content: bytes) -> Image.Image:
    warnings.filterwarnings("ignore", module=r"PIL\b")  # they name no file; ours do
    with Image.open(BytesIO(content), formats=_FORMATS) as image:
        check_size(*image.size)
        if getattr(image, "is_animated", False):
            raise RefusedError("it holds several pages; a radiograph is one")
        dark = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        image.load()
        return ImageOps.exif_transpose(_to_eight_bits(image, dark))


def _to_eight_bits(image: Image.Image, white_is_zero: bool) -> Image.Image:
    if image.mode in _DEEP:
        pixels = np.asarray(image)
        if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
            raise RefusedError(f"pixels of mode {image.mode} outside 0 to 65535")
        shades = _scaled(pixels)
        # Pillow inverts such a TIFF of 8 bits, but not of 16.
        return Image.fromarray(255 - shades if white_is_zero else shades)
    if image.mode in ("L", "RGB"):
        return image.copy()
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _scaled(pixels: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Scale from the bit depth to 8 bits, by a table of all the values that there can be."""
    top = next(2**bits - 1 for bits in DEPTHS if pixels.max() < 2**bits)
    table = np.round(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    return np.asarray(table[pixels])
