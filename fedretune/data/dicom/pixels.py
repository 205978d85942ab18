"""From pixel data to stored values, by the decoder that each transfer syntax needs."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import Image
from pydicom import Dataset, uid
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder

from fedretune.data.dicom.apart import decode_apart
from fedretune.data.dicom.display import Stored
from fedretune.data.dicom.header import quietly
from fedretune.data.dicom.layout import GDCM, NATIVE, PILLOW, Layout
from fedretune.data.refusal import RefusedError

_END = b"\xff\xd9"  # of an image in JPEG, JPEG-LS and JPEG 2000


def stored_pixels(dataset: Dataset, layout: Layout) -> Stored:
    """Decode the pixel data.

    Returns
    -------
    integer array [rows, columns], or uint8 array [rows, columns, 3] of RGB
        As the layout says.

    Raises
    ------
    RefusedError
        Pixel data that is truncated or broken.
    """
    pixels = _DECODERS[layout.syntax](
        dataset["PixelData"].value, layout, str(dataset["PixelData"].VR)
    )
    shape = (layout.rows, layout.columns, 3)[: 2 if layout.samples == 1 else 3]
    if pixels is None or pixels.shape != shape:
        raise RefusedError("its pixel data is broken")
    return pixels


def options(layout: Layout, vr: str = "OB") -> dict[str, Any]:
    """Return what pydicom's decoders ask for."""
    return {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
        "pixel_vr": vr,
    }


def _native(data: bytes, layout: Layout, vr: str) -> Stored | None:
    samples = 2 if layout.photometric == "YBR_FULL_422" else layout.samples
    expected = layout.rows * layout.columns * samples * layout.allocated // 8
    if len(data) < expected:
        raise RefusedError(f"its pixel data is truncated: {len(data):,} of {expected:,} bytes")
    return _decode(data, layout, vr, "")


def _rle(data: bytes, layout: Layout, vr: str) -> Stored | None:
    return _decode(data, layout, vr, "pydicom")


def _pillow(data: bytes, layout: Layout, vr: str) -> Stored | None:
    frame = _frame(data)
    size = quietly(lambda: Image.open(BytesIO(frame), formats=("JPEG", "JPEG2000")).size)
    if size != (layout.columns, layout.rows):  # a bomb may hide behind a small header
        return None
    return _decode(data, layout, vr, "pillow")


def _gdcm(data: bytes, layout: Layout, vr: str) -> Stored | None:
    _frame(data)
    return decode_apart(data, layout.syntax, options(layout))


def _decode(data: bytes, layout: Layout, vr: str, plugin: str) -> Stored | None:
    decoder = get_decoder(uid.UID(layout.syntax))
    decoded = quietly(
        lambda: decoder.as_array(
            data, index=0, raw=False, decoding_plugin=plugin, **options(layout, vr)
        )
    )
    return None if decoded is None else decoded[0]


def _frame(data: bytes) -> bytes:
    """Return the compressed frame: decoders would fill up a truncated one with grey."""
    frame = quietly(lambda: get_frame(data, 0, number_of_frames=1))
    if frame is None:
        raise RefusedError("its pixel data is broken")
    if not frame.rstrip(b"\0\xff").endswith(_END):  # padded to an even length by either
        raise RefusedError("its pixel data is truncated: the compressed image has no end")
    return frame


_DECODERS: dict[str, Callable[[bytes, Layout, str], Stored | None]] = {
    **dict.fromkeys(map(str, NATIVE), _native),
    str(uid.RLELossless): _rle,
    **dict.fromkeys(map(str, PILLOW), _pillow),
    **dict.fromkeys(map(str, GDCM), _gdcm),
}
