"""The second moment of public images, and the map that evens directions out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.backbones import SHIPPED
from fedretune.backbones.moments import (
    FILE,
    FLOOR,
    OF_BACKBONE,
    evening,
    load_moments,
    second_moment,
    write_moments,
)
from fedretune.errors import UserError

DIM = 5


def vectors(seed: int, count: int = 40) -> torch.Tensor:
    drawn = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    return drawn * torch.tensor([5.0, 2.0, 1.0, 0.1, 0.0]) + torch.tensor([3.0, 0, 0, 0, 0])


def test_a_second_moment_is_of_directions_whatever_the_lengths() -> None:
    some = vectors(1)
    second = second_moment(some)
    unit = some.numpy() / np.linalg.norm(some.numpy(), axis=1, keepdims=True)
    np.testing.assert_allclose(second, unit.T @ unit / len(unit), atol=1e-6)
    longer = some * torch.linspace(0.1, 1000, len(some))[:, None]
    torch.testing.assert_close(second_moment(longer), second)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_an_evened_vector_keeps_its_mean_square_and_is_stretched_the_more_the_rarer_it_is(
    seed: int,
) -> None:
    second = second_moment(vectors(seed))
    map_ = evening(second)
    torch.testing.assert_close(map_, map_.T)
    assert float((map_ @ second @ map_).trace()) == pytest.approx(1, abs=1e-4)
    values, directions = torch.linalg.eigh(second.double())
    found = torch.linalg.vector_norm(map_.double() @ directions, dim=0)
    wanted = (values.clamp_min(0) + FLOOR).rsqrt()
    torch.testing.assert_close(found / found[0], wanted / wanted[0], atol=1e-3, rtol=1e-3)


def test_what_was_written_is_read_and_known_by_its_content(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.npy", "b.npy", "c.npy")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        write_moments(path, vectors(seed))
    first, again, other = (load_moments(str(path), "phantom-clip", DIM) for path in paths)
    torch.testing.assert_close(first.second, second_moment(vectors(1)))
    assert first.sha256 == again.sha256 != other.sha256


def test_phantom_clip_brings_one() -> None:
    second = load_moments(OF_BACKBONE, "phantom-clip", 128).second
    assert float(second.trace()) == pytest.approx(1, abs=1e-5)
    assert float(torch.linalg.eigvalsh(second).min()) > -1e-6


def test_a_file_that_is_no_second_moment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "moments.npy"
    with pytest.raises(UserError, match=r"Cannot read.*fedretune backbones moments"):
        load_moments(str(path), "phantom-clip", DIM)
    for content in (b"", b"text", b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="holds no second moment"):
            load_moments(str(path), "phantom-clip", DIM)
    for array in (np.zeros((DIM, DIM)), np.triu(np.ones((DIM, DIM))), np.full((DIM, DIM), np.nan)):
        np.save(path, array)
        with pytest.raises(UserError, match="is no second moment"):
            load_moments(str(path), "phantom-clip", DIM)
    np.save(path, np.array(["a"]))
    with pytest.raises(UserError, match="holds no second moment"):
        load_moments(str(path), "phantom-clip", DIM)
    write_moments(path, vectors(1))
    with pytest.raises(UserError, match=r"shape \[5, 5\].*128"):
        load_moments(str(path), "phantom-clip", 128)
    with pytest.raises(UserError, match="no image whose vector"):
        second_moment(torch.zeros(3, DIM))


def test_a_backbone_without_one_says_how_to_make_it(tmp_path: Path) -> None:
    shipped = SHIPPED["phantom-clip"]
    bare = tmp_path / "bare"
    bare.mkdir()
    for each in shipped.iterdir():
        if each.name != FILE:
            (bare / each.name).symlink_to(each)
    with pytest.raises(UserError, match=r"brings no image_moments\.npy.*backbones moments"):
        load_moments(OF_BACKBONE, f"local-dir:{bare}", 128)
