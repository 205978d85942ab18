"""Opening images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedretune.data.images import open_image
from fedretune.errors import UserError


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", "L"), ("RGB", "RGB"), ("RGBA", "RGB"), ("LA", "L"), ("P", "RGB"), ("1", "L")],
)
def test_every_eight_bit_mode_becomes_grey_or_rgb(tmp_path: Path, mode: str, expected: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png")
    assert (image.mode, image.size) == (expected, (4, 3))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_deep_image_is_scaled_from_its_own_bit_depth(tmp_path: Path, bits: int) -> None:
    top = 2**bits - 1
    pixels = np.array([[0, top // 2, top]], dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png")
    assert image.mode == "L"
    np.testing.assert_allclose(np.asarray(image), [[0, 127, 255]], atol=1)


def test_a_floating_point_image_is_refused(tmp_path: Path) -> None:
    Image.new("F", (2, 2)).save(tmp_path / "a.tiff")
    with pytest.raises(UserError, match=r"a\.tiff.*mode F"):
        open_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"a\.{suffix}"):
        open_image(path)


def test_a_corrupt_chunk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (64, 64)).save(path)
    broken = bytearray(path.read_bytes())
    broken[20] ^= 0xFF  # inside the header chunk: its checksum no longer fits
    path.write_bytes(bytes(broken))
    with pytest.raises(UserError, match=r"a\.png"):
        open_image(path)


def test_a_text_file_and_a_missing_one_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(UserError, match=r"Cannot read the image .*a\.png"):
        open_image(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"There is no image .*b\.png"):
        open_image(tmp_path / "b.png")
