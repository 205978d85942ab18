"""Broken files of every format: a message or an image comes out, soon, and nothing else."""

from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid

from fedretune.data.dicom.study import VIEWS, read_study
from fedretune.data.images import decode_image
from fedretune.errors import UserError
from tests.data.dicoms import compressed, content, dataset, radiograph

PICTURES = {
    "png": ("PNG", 8, {}),
    "png16": ("PNG", 16, {}),
    "jpg": ("JPEG", 8, {}),
    "jp2": ("JPEG2000", 16, {}),
    "tif": ("TIFF", 16, {"compression": "tiff_lzw"}),
    "deflated tif": ("TIFF", 8, {"compression": "tiff_adobe_deflate"}),
    "bmp": ("BMP", 8, {}),
    "pgm": ("PPM", 8, {}),
}
SYNTAXES = {
    "dcm": None,
    "dcm rle": uid.RLELossless,
    "dcm jpeg": uid.JPEGBaseline8Bit,
    "dcm lossless": uid.JPEGLosslessSV1,
    "dcm jpeg-ls": uid.JPEGLSLossless,
    "dcm jpeg 2000": uid.JPEG2000Lossless,
}


@cache
def whole(kind: str) -> bytes:
    if kind in PICTURES:
        name, bits, options = PICTURES[kind]
        file = BytesIO()
        Image.fromarray(radiograph(bits=bits)).save(file, name, **options)
        return file.getvalue()
    bits = 8 if kind == "dcm jpeg" else 12
    made = dataset(radiograph(bits=bits), bits, WindowCenter=99, WindowWidth=99)
    return content(compressed(made, SYNTAXES[kind]) if SYNTAXES[kind] else made)


def flips(size: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Return places and bytes; headers are short, so half of the places are near the ends."""
    ends = st.integers(0, min(size, 700) - 1) | st.integers(max(0, size - 1100), size - 1)
    return st.lists(
        st.tuples(ends | st.integers(0, size - 1), st.integers(0, 255)), min_size=1, max_size=12
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", [*PICTURES, *SYNTAXES])
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_flipped_bytes_give_a_message_or_an_image(kind: str, data: st.DataObject) -> None:
    content = bytearray(whole(kind))
    for place, byte in data.draw(flips(len(content))):
        content[place] = byte
    try:
        image = decode_image(bytes(content), "a.dcm" if kind in SYNTAXES else "a")
    except UserError:
        return
    assert image.mode in ("L", "RGB")


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_flipped_bytes_of_a_header_give_a_study(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(whole("dcm"))
    for place, byte in data.draw(flips(len(content))):
        content[place] = byte
    (tmp_path / "a.dcm").write_bytes(content)
    study = read_study(tmp_path / "a.dcm")
    assert study is not None
    assert study.view in ("", *VIEWS.values())


@settings(max_examples=60)
@given(st.binary(max_size=400), st.sampled_from(["a", "a.dcm"]), st.booleans())
def test_any_bytes_give_a_message(content: bytes, path: str, preamble: bool) -> None:
    with pytest.raises(UserError):
        decode_image(bytes(128) + b"DICM" + content if preamble else content, path)
