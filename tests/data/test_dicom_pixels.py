"""Each transfer syntax and layout of DICOM: read, or refused with its reason."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file

from fedretune.data.images import decode_image, open_image
from fedretune.errors import UserError
from tests.data.dicoms import compressed, content, dataset, radiograph, write

LOSSLESS = [
    uid.RLELossless,
    uid.JPEG2000Lossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
]


def pixels_of(made: object) -> np.ndarray:
    return np.asarray(decode_image(content(made), "a.dcm"))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_compression_changes_no_pixel(syntax: uid.UID, bits: int) -> None:
    pixels = radiograph(bits=bits)
    plain = pixels_of(dataset(pixels, bits))
    np.testing.assert_array_equal(pixels_of(compressed(dataset(pixels, bits), syntax)), plain)


def test_jpeg_baseline_stays_close() -> None:
    pixels = radiograph(bits=8)
    made = compressed(dataset(pixels, 8), uid.JPEGBaseline8Bit)
    np.testing.assert_allclose(pixels_of(made).astype(int), pixels, atol=6)


@pytest.mark.parametrize(
    "syntax", [uid.RLELossless, uid.JPEGLosslessSV1], ids=lambda syntax: syntax.keyword
)
def test_signed_pixels_are_read(syntax: uid.UID) -> None:
    pixels = radiograph(bits=12).astype(np.int16) - 2048
    plain = pixels_of(dataset(pixels, 12))
    np.testing.assert_array_equal(plain, pixels_of(dataset(radiograph(bits=12), 12)))
    np.testing.assert_array_equal(pixels_of(compressed(dataset(pixels, 12), syntax)), plain)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_every_uncompressed_syntax_gives_the_same(syntax: uid.UID) -> None:
    made = dataset(radiograph(), 12)
    plain = pixels_of(made)
    if syntax == uid.ExplicitVRBigEndian:
        made.PixelData = radiograph().byteswap().tobytes()
    made.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(pixels_of(made), plain)


def test_bits_above_those_stored_are_not_seen() -> None:
    pixels = radiograph(bits=12)
    overlaid = pixels | np.uint16(0b1010 << 12)  # an overlay in the unused bits, as it once was
    np.testing.assert_array_equal(pixels_of(dataset(overlaid, 12)), pixels_of(dataset(pixels, 12)))


def test_an_overlay_plane_is_not_drawn() -> None:
    made = dataset(radiograph(), 12)
    plain = pixels_of(made)
    for element, vr, value in ((0x10, "US", 24), (0x11, "US", 32), (0x3000, "OW", b"\xff" * 96)):
        made.add_new((0x6000, element), vr, value)
    np.testing.assert_array_equal(pixels_of(made), plain)


def test_a_file_without_preamble_is_read_by_its_suffix_alone(tmp_path: Path) -> None:
    bare = content(dataset(radiograph(), 12))[132:]
    (tmp_path / "a.dcm").write_bytes(bare)
    assert open_image(tmp_path / "a.dcm").size == (32, 24)
    (tmp_path / "a").write_bytes(bare)
    with pytest.raises(UserError, match=r"a \(it is no PNG"):
        open_image(tmp_path / "a")


def test_a_file_with_preamble_needs_no_suffix(tmp_path: Path) -> None:
    image = open_image(write(tmp_path / "IM0001", dataset(radiograph(), 12)))
    assert (image.mode, image.size) == ("L", (32, 24))


@pytest.mark.parametrize(
    "name",
    ["SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm",
     "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_jpeg_dcmtk.dcm"],
)  # fmt: skip
def test_colour_becomes_grey(name: str) -> None:
    image = open_image(get_testdata_file(name, download=False))
    reference = dcmread(get_testdata_file("SC_rgb_dcmtk_+eb+cr.dcm", download=False)).pixel_array
    grey = reference @ np.array([0.299, 0.587, 0.114])
    assert image.mode == "L"
    assert np.abs(np.asarray(image) - grey).mean() < 2


def with_tags(**tags: object) -> bytes:
    return content(dataset(radiograph(), 12, **tags))


def truncated_native() -> bytes:
    made = dataset(radiograph(), 12)
    made.PixelData = made.PixelData[:-2]
    return content(made)


def truncated_frame() -> bytes:
    made = compressed(dataset(radiograph(), 12), uid.JPEGLosslessSV1)
    made.PixelData = made.PixelData[:-6]  # without the end of the image
    return content(made)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (with_tags(PixelData=None), "no pixel data"),
        (with_tags(NumberOfFrames=2), "several frames"),
        (with_tags(Rows=None), "lacks Rows"),
        (with_tags(Rows=0), "no pixels"),
        (with_tags(Rows=40_000, Columns=40_000), "40,000 x 40,000 pixels; at most 80,000,000"),
        (with_tags(BitsStored=17), "17 of 16 bits"),
        (with_tags(BitsAllocated=32), "12 of 32 bits"),
        (with_tags(HighBit=15), "HighBit"),
        (with_tags(SamplesPerPixel=3), "neither grey nor RGB"),
        (with_tags(PhotometricInterpretation="PALETTE COLOR"), "neither grey nor RGB"),
        (truncated_native(), "truncated: 1,534 of 1,536 bytes"),
        (truncated_frame(), "truncated"),
        (b"", "no DICOM file"),
        (b"no DICOM at all" * 20, "no DICOM file"),
        (Path(get_testdata_file("image_dfl.dcm", download=False)).read_bytes(), "deflated"),
        (Path(get_testdata_file("rtplan.dcm", download=False)).read_bytes(), "no pixel data"),
    ],
)
def test_what_is_not_read_is_refused_with_its_reason(broken: bytes, message: str) -> None:
    with pytest.raises(UserError, match=rf"Cannot read the image a\.dcm \(.*{message}"):
        decode_image(broken, "a.dcm")


def test_an_unknown_transfer_syntax_is_refused() -> None:
    made = compressed(dataset(radiograph(), 12), uid.RLELossless)
    made.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    with pytest.raises(UserError, match="transfer syntax is not read"):
        decode_image(content(made), "a.dcm")


def test_a_compressed_image_larger_than_its_header_says_is_refused() -> None:
    made = compressed(dataset(radiograph(64, 64, 8), 8), uid.JPEGBaseline8Bit)
    made.Rows = made.Columns = 16
    with pytest.raises(UserError, match="broken"):
        decode_image(content(made), "a.dcm")


@pytest.mark.parametrize(
    "syntax",
    [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEG2000Lossless],
    ids=lambda syntax: syntax.keyword,
)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused_or_is_whole(syntax: uid.UID, share: float) -> None:
    if syntax not in _WHOLE:
        made = dataset(radiograph(), 12)
        native = syntax == uid.ExplicitVRLittleEndian
        _WHOLE[syntax] = content(made if native else compressed(made, syntax))
    whole = _WHOLE[syntax]
    try:
        image = decode_image(whole[: int(share * len(whole))], "a.dcm")
    except UserError:
        return
    np.testing.assert_array_equal(np.asarray(image), np.asarray(decode_image(whole, "a.dcm")))


_WHOLE: dict[uid.UID, bytes] = {}
