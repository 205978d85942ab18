"""DICOM: from a file's bytes to the 8-bit grey image that a radiologist's viewer would show.

Nothing that identifies a patient is read for it, and no message quotes a value of a header.
"""

from io import BytesIO

from PIL import Image

from fedretune.data.dicom.display import show
from fedretune.data.dicom.header import IMAGE_TAGS, NO_PIXELS, quietly, read_tags
from fedretune.data.dicom.layout import read_layout
from fedretune.data.dicom.pixels import stored_pixels
from fedretune.data.refusal import RefusedError

__all__ = ["decode_dicom"]


def decode_dicom(content: bytes) -> Image.Image:
    """Decode a DICOM file of one frame.

    The steps are those of DICOM PS3.3, C.11: stored values, modality transformation, values of
    interest, and inversion where a high value is dark. Overlay planes are not drawn.

    Returns
    -------
    PIL.Image.Image
        Mode ``L``, 8 bits.

    Raises
    ------
    RefusedError
        Broken, of several frames, or stored in a way that is not read; says which.
    """
    image = quietly(lambda: _decode(content))
    if image is None:
        raise RefusedError("it is broken DICOM")
    return image


def _decode(content: bytes) -> Image.Image:
    dataset = read_tags(BytesIO(content), IMAGE_TAGS)
    if "PixelData" not in dataset:
        raise RefusedError(NO_PIXELS)
    layout = read_layout(dataset)
    stored = stored_pixels(dataset, layout)
    if layout.samples == 3:
        return Image.fromarray(stored).convert("L")
    return Image.fromarray(show(stored, dataset, layout))
