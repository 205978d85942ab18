"""From stored values to shades of grey, held against pydicom's own functions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, uid
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

from fedretune.data.dicom import decode_dicom
from fedretune.data.dicom.display import SHARES, show, stretch, window
from fedretune.data.dicom.layout import read_layout
from fedretune.data.refusal import RefusedError
from tests.data.dicoms import content, dataset, radiograph


def shown(pixels: np.ndarray, bits: int, **tags: object) -> np.ndarray:
    made = dataset(pixels, bits, **tags)
    return show(pixels, made, read_layout(made))


def lut(first: int, entries: list[int], depth: int, kind: str) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, depth])
    item.add_new("LUTData", "US", entries)
    if kind == "modality":
        item.ModalityLUTType = "US"
    return item


def test_an_image_of_eight_bits_without_a_window_is_shown_as_it_is() -> None:
    pixels = np.array([[0, 100, 255]], dtype=np.uint8)
    np.testing.assert_array_equal(shown(pixels, 8), pixels)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@given(
    centre=st.integers(-3000, 5000),
    width=st.integers(2, 6000),
    slope=st.sampled_from([1.0, 0.5, 2.25]),
    intercept=st.sampled_from([0.0, -1024.0, 37.5]),
    signed=st.booleans(),
)
def test_windows_give_what_pydicom_gives(
    function: str, centre: int, width: int, slope: float, intercept: float, signed: bool
) -> None:
    low = -2048 if signed else 0
    pixels = np.arange(low, low + 4096, 7, dtype=np.int16 if signed else np.uint16)[None]
    tags = {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": function}
    tags |= {"RescaleSlope": slope, "RescaleIntercept": intercept}
    made = dataset(pixels, 12, **tags)
    expected = apply_windowing(apply_modality_lut(pixels, made), made)
    bottom, top = np.array([low, low + 4095]) * slope + intercept
    expected = (expected - bottom) / (top - bottom) * 255
    np.testing.assert_allclose(shown(pixels, 12, **tags), expected, atol=0.51)


def test_the_narrowest_linear_window_is_a_step() -> None:
    values = np.array([98.0, 99.0, 100.0, 101.0])
    np.testing.assert_array_equal(window(values, 100, 1, "LINEAR"), [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("function", "width"), [("LINEAR", 0.5), ("LINEAR_EXACT", 0), ("SIGMOID", -1)]
)
def test_a_window_of_a_width_that_its_function_does_not_allow_counts_as_none(
    function: str, width: float
) -> None:
    tags = {"VOILUTFunction": function, "WindowCenter": 0, "WindowWidth": width}
    np.testing.assert_array_equal(shown(radiograph(), 12, **tags), shown(radiograph(), 12))


def test_the_first_of_several_windows_counts() -> None:
    pixels = radiograph()
    one = shown(pixels, 12, WindowCenter=1000, WindowWidth=500)
    both = shown(pixels, 12, WindowCenter=[1000, 2000], WindowWidth=[500, 4000])
    np.testing.assert_array_equal(one, both)


@given(st.lists(st.integers(0, 4095), min_size=2, max_size=300), st.integers(-500, 3000))
def test_a_table_of_the_values_of_interest_gives_what_pydicom_gives(
    entries: list[int], first: int
) -> None:
    pixels = np.arange(0, 4096, 5, dtype=np.uint16)[None]
    item = lut(first, entries, 12, "voi")
    made = dataset(pixels, 12, VOILUTSequence=[item])
    expected = apply_voi(pixels.astype(np.int64), made) / 4095 * 255
    np.testing.assert_allclose(
        shown(pixels, 12, VOILUTSequence=[item], WindowCenter=5, WindowWidth=9), expected, atol=0.51
    )


def test_a_table_above_its_depth_is_white() -> None:
    pixels = np.array([[0, 1]], dtype=np.uint16)
    shades = shown(pixels, 12, VOILUTSequence=[lut(0, [0, 65_535], 12, "voi")])
    np.testing.assert_array_equal(shades, [[0, 255]])


def test_a_modality_table_comes_before_the_window() -> None:
    pixels = np.array([[0, 1, 2, 3]], dtype=np.uint16)
    item = lut(0, [0, 300, 600, 900], 16, "modality")
    shades = shown(
        pixels, 12, ModalityLUTSequence=[item], WindowCenter=450, WindowWidth=900,
        VOILUTFunction="LINEAR_EXACT",
    )  # fmt: skip
    np.testing.assert_array_equal(shades, [[0, 85, 170, 255]])


def test_monochrome1_is_inverted() -> None:
    pixels = radiograph()
    tags = {"WindowCenter": 2048, "WindowWidth": 4096}
    light = shown(pixels, 12, PhotometricInterpretation="MONOCHROME1", **tags).astype(int)
    np.testing.assert_allclose(light, 255 - shown(pixels, 12, **tags).astype(int), atol=1)


@given(
    st.lists(st.integers(0, 4095), min_size=1, max_size=400),
    st.sampled_from([1.0, -2.0]),
)
def test_without_a_window_the_shades_lie_between_quantiles(stored: list[int], slope: float) -> None:
    values = np.arange(4096) * slope
    counts = np.bincount(stored, minlength=4096)
    low, high = np.quantile(values[stored], SHARES, method="inverted_cdf")
    shades = stretch(values, counts)
    assert shades[values <= low].max(initial=0) == 0
    assert shades[values > high].min(initial=1) == 1
    between = (values > low) & (values < high)
    np.testing.assert_allclose(
        shades[between], (values[between] - low) / max(high - low, 1e-9), atol=1e-9
    )


def test_one_bright_pixel_hardly_changes_the_shades_of_the_others() -> None:
    pixels = radiograph(60, 60, 10)
    bright = pixels.astype(np.uint16)
    bright[0, 0] = 4095
    before, after = shown(pixels, 12).astype(int), shown(bright, 12)
    np.testing.assert_allclose(before[1:], after[1:], atol=1)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_part_of_the_quantiles(photometric: str) -> None:
    pixels = radiograph().astype(np.int16)
    bare = shown(pixels, 13, PhotometricInterpretation=photometric)
    padded = np.hstack([pixels, np.full((24, 100), -2000, dtype=np.int16)])
    shades = shown(padded, 13, PhotometricInterpretation=photometric, PixelPaddingValue=-2000)
    np.testing.assert_array_equal(shades[:, :32], bare)
    assert shades[:, 32:].max() == 0


def test_a_range_of_padding_is_black() -> None:
    pixels = np.array([[10, 20, 30, 4000]], dtype=np.uint16)
    shades = shown(
        pixels, 12, WindowCenter=0, WindowWidth=2, PixelPaddingValue=10, PixelPaddingRangeLimit=20
    )
    np.testing.assert_array_equal(shades, [[0, 0, 255, 255]])


def test_a_header_without_types_of_values_says_the_same() -> None:
    pixels = radiograph().astype(np.int16)
    tags = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1000}
    tags |= {"ModalityLUTSequence": [lut(-5, list(range(0, 60_000, 20)), 16, "modality")]}
    tags |= {"VOILUTSequence": [lut(7, list(range(0, 4000, 3)), 12, "voi")]}
    made = dataset(pixels, 13, **tags)
    explicit = np.asarray(decode_dicom(content(made)))
    made.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    np.testing.assert_array_equal(np.asarray(decode_dicom(content(made))), explicit)
    np.testing.assert_array_equal(explicit, shown(pixels, 13, **tags))


def test_nothing_but_padding_is_refused() -> None:
    with pytest.raises(RefusedError, match="padding"):
        shown(np.zeros((2, 2), dtype=np.uint16), 12, PixelPaddingValue=0)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"RescaleSlope": "1e308", "RescaleIntercept": "0"}, "modality transformation"),
        ({"VOILUTFunction": "GAMMA", "WindowCenter": 1, "WindowWidth": 2}, "VOI LUT function"),
        ({"VOILUTSequence": [Dataset()]}, "VOI LUT"),
    ],
)
def test_a_transformation_that_cannot_be_applied_is_refused(
    tags: dict[str, object], message: str
) -> None:
    with pytest.raises(RefusedError, match=message):
        shown(radiograph(), 12, **tags)
