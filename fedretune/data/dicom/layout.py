"""How a DICOM file stores its pixels, checked before one of them is decoded."""

from dataclasses import dataclass

from pydicom import Dataset, uid

from fedretune.data.dicom.header import integer, value
from fedretune.data.refusal import RefusedError, check_size

#: Transfer syntaxes that are read, by what decodes them.
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
PILLOW = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000Lossless, uid.JPEG2000)
GDCM = (uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_READ = frozenset((*NATIVE, uid.RLELossless, *PILLOW, *GDCM))

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})


@dataclass(frozen=True)
class Layout:
    """DICOM's Image Pixel module (PS3.3, C.7.6.3), as far as it matters here.

    Parameters
    ----------
    syntax : str
        The transfer syntax's UID.
    rows, columns : int
    samples : int
        1 for grey, 3 for colour.
    allocated, stored : int
        Bits a sample takes, and those of them that mean something: the low ones.
    signed : bool
    photometric : str
        One of `GREY` or `COLOUR`.
    planar : int
        Whether colours are stored plane by plane.
    """

    syntax: str
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str
    planar: int

    @property
    def lowest(self) -> int:
        """The lowest value that a sample can have."""
        return -(2 ** (self.stored - 1)) if self.signed else 0


def read_layout(dataset: Dataset) -> Layout:
    """Read and check how the pixels are stored. Raises `RefusedError` naming what is not read."""
    frames = integer(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        raise RefusedError("it holds several frames; a radiograph is one")
    layout = Layout(
        syntax=_syntax(dataset),
        rows=_needed(dataset, "Rows"),
        columns=_needed(dataset, "Columns"),
        samples=_needed(dataset, "SamplesPerPixel"),
        allocated=_needed(dataset, "BitsAllocated"),
        stored=_needed(dataset, "BitsStored"),
        signed=_needed(dataset, "PixelRepresentation") == 1,
        photometric=str(value(dataset, "PhotometricInterpretation")).strip(),
        planar=integer(dataset, "PlanarConfiguration") or 0,
    )
    _check(layout, integer(dataset, "HighBit"))
    return layout


def _check(layout: Layout, high_bit: int | None) -> None:
    check_size(layout.columns, layout.rows)
    if layout.syntax not in _READ:
        raise RefusedError(
            "its transfer syntax is not read; read are uncompressed, RLE, JPEG baseline, extended "
            "of 8 bits and lossless, JPEG-LS and JPEG 2000"
        )
    colours = {1: GREY, 3: COLOUR}.get(layout.samples, frozenset())
    if layout.photometric not in colours:
        raise RefusedError(
            "its pixels are neither grey nor RGB (a palette, or an interpretation that does not "
            f"fit its {layout.samples} samples a pixel)"
        )
    deepest = 16 if layout.samples == 1 else 8
    if layout.allocated not in (8, 16) or not 1 < layout.stored <= min(layout.allocated, deepest):
        raise RefusedError(
            f"its samples have {layout.stored} of {layout.allocated} bits; read are up to 16 of 8 "
            "or 16 bits for grey, and 8 for colour"
        )
    if high_bit is not None and high_bit != layout.stored - 1:
        raise RefusedError("its samples do not stand in the lowest bits (HighBit)")


def _needed(dataset: Dataset, tag: str) -> int:
    number = integer(dataset, tag)
    if number is None:
        raise RefusedError(f"it lacks {tag}")
    return number


def _syntax(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    named = None if meta is None else value(meta, "TransferSyntaxUID")
    if named is not None:
        return str(named)
    implicit, little = dataset.original_encoding
    if not little:
        return str(uid.ExplicitVRBigEndian)
    return str(uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian)
