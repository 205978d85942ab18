"""Reading chosen tags of a DICOM file, and saying nothing of what is in the others."""

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, TypeVar

from pydicom import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from fedretune.data.refusal import RefusedError

#: What the pixels and their display hang on; no name, no id, no date.
IMAGE_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PixelData",
)

NO_PIXELS = "it holds no pixel data, or was cut short before its end"

#: Each the first element of a file's pixels: everything of the header stands before them.
_PIXELS = frozenset(Tag(name) for name in ("FloatPixelData", "DoubleFloatPixelData", "PixelData"))

_META = 4096  # bytes: a file's transfer syntax stands among the first

T = TypeVar("T")


def read_tags(file: BinaryIO, tags: Sequence[str]) -> Dataset:
    """Read these tags of a DICOM file, and its transfer syntax.

    Raises `RefusedError` if it is not DICOM.
    """
    return _read(file, tags, None)


def read_header(file: BinaryIO, tags: Sequence[str]) -> tuple[Dataset, bool]:
    """Read these tags without reading pixels; return them, and whether pixels follow.

    Raises `RefusedError` if it is not DICOM.
    """
    found = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        found.append(tag == "PixelData")
        return tag in _PIXELS

    return _read(file, tags, at_pixels), any(found)


def _read(
    file: BinaryIO,
    tags: Sequence[str],
    stop_when: Callable[[BaseTag, str | None, int], bool] | None,
) -> Dataset:
    # pydicom inflates such a file whole, whatever its size becomes.
    if str(DeflatedExplicitVRLittleEndian).encode() in file.read(_META):
        raise RefusedError("it is deflated DICOM, which is not read; store it uncompressed")
    file.seek(0)
    numbers: list[BaseTag | int] = [Tag(name) for name in tags]
    dataset = quietly(
        lambda: read_partial(file, stop_when=stop_when, force=True, specific_tags=numbers)
    )
    if dataset is None or not (len(dataset) or len(dataset.file_meta)):
        raise RefusedError("it is no DICOM file, or its header is broken")
    return dataset


def value(dataset: Dataset, tag: str) -> Any:
    """Return a tag's value; None where it is absent, empty or broken."""
    found = quietly(lambda: dataset.get(tag))
    return None if isinstance(found, str) and not found.strip() else found


def integer(dataset: Dataset, tag: str) -> int | None:
    """Return a tag's value as an int; None where it is absent, empty or no number."""
    found = value(dataset, tag)
    return quietly(lambda: int(found))


def quietly(call: Callable[[], T]) -> T | None:
    """Return what a call into pydicom gives, or None if it fails, in silence.

    A `RefusedError` passes: it quotes nothing.

    pydicom's warnings, log lines and errors quote values of the header, such as a patient's name.
    So none is shown, and an error is let go here, with its traceback, rather than chained.
    """
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom\b|fedretune\.data\.dicom\b")
    try:
        return call()
    except RefusedError:
        raise
    except Exception:
        return None
