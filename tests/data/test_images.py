"""Opening images."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from fedretune.data import images
from fedretune.data.images import decode_image, open_image
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


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_of_any_lossless_compression_is_read(compression: str | None, bits: int) -> None:
    pixels = np.arange(64 * 64).reshape(64, 64) * (2**bits - 1) // 4095
    image = Image.fromarray(pixels.astype(f"u{bits // 8}"))
    shades = np.asarray(decode_image(saved(image, "TIFF", compression=compression), "a.tif"))
    np.testing.assert_allclose(shades, pixels * (255 / (2**bits - 1)), atol=0.51)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_white_is_zero_is_inverted(bits: int) -> None:
    top = 2**bits - 1
    image = Image.fromarray(np.array([[0, top // 5, top]], dtype=f"u{bits // 8}"))
    content = saved(image, "TIFF", tiffinfo={262: 0})
    if bits == 8:  # Pillow writes such pixels inverted, but not those of 16 bits
        content = saved(ImageOps.invert(image), "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(np.asarray(decode_image(content, "a")), [[255, 204, 0]])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_orientation_says(kind: str, orientation: int) -> None:
    image = Image.new("L", (8, 16))
    image.paste(255, (0, 0, 8, 8))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = orientation
    shades = np.asarray(decode_image(saved(image, kind, exif=exif), "a")) > 127
    halves = {1: shades[:8], 2: shades[:8], 3: shades[8:], 4: shades[8:]}
    halves |= {5: shades[:, :8], 6: shades[:, 8:], 7: shades[:, 8:], 8: shades[:, :8]}
    assert shades.shape == ((16, 8) if orientation < 5 else (8, 16))
    assert halves[orientation].all()
    assert shades.sum() == 64


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_several_pages_are_refused(kind: str) -> None:
    pages = [Image.new("L", (4, 4), shade) for shade in (1, 2)]
    content = saved(pages[0], kind, save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match="several pages"):
        decode_image(content, "a")


def test_cmyk_becomes_rgb() -> None:
    image = decode_image(saved(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"), "a.jpg")
    assert image.mode == "RGB"
    assert np.asarray(image).max() == 0


def huge(kind: str) -> bytes:
    """Return a small file that says it has 40,000 x 40,000 pixels."""
    if kind == "PNG":
        header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
        data = b"IDAT" + zlib.compress(bytes(1000))
        chunks = [header, data, b"IEND"]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
            for chunk in chunks
        )
    content = saved(Image.new("L", (16, 17)), kind)
    where = {"JPEG": ">HH", "BMP": "<ii", "TIFF": "<HHIIHHII"}[kind]
    tags = {"TIFF": ((256, 4, 1, 16, 257, 4, 1, 17), (256, 4, 1, 40_000, 257, 4, 1, 40_000))}
    sizes = {"JPEG": ((17, 16), (40_000, 40_000)), "BMP": ((16, 17), (40_000, 40_000)), **tags}
    old, new = (struct.pack(where, *numbers) for numbers in sizes[kind])
    assert old in content
    return content.replace(old, new)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    with pytest.raises(UserError, match="too many pixels"):
        decode_image(huge(kind), "a")


def test_somewhat_too_many_pixels_are_counted() -> None:
    content = saved(Image.new("1", (10_000, 8_001)), "PNG")
    with pytest.raises(UserError, match="10,000 x 8,001 pixels; at most 80,000,000"):
        decode_image(content, "a")


def test_a_file_that_is_too_large_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    (tmp_path / "a.png").write_bytes(bytes(1001))
    with pytest.raises(UserError, match=r"a\.png.*are no radiograph"):
        open_image(tmp_path / "a.png")


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    for suffix in (".png", ".tif", ".dcm"):
        path = tmp_path / f"a{suffix}"
        path.touch()
        with pytest.raises(UserError, match=r"a\.\w+ \((the file is empty|it is no DICOM)"):
            open_image(path)


def test_formats_that_are_no_radiographs_are_refused() -> None:
    for kind in ("GIF", "EPS", "WEBP"):
        with pytest.raises(UserError, match="it is no PNG"):
            decode_image(saved(Image.new("L", (4, 4)), kind), "a")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
