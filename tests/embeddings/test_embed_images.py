"""Embedding the images of a manifest."""

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fedretune.backbones import describe, load_backbone
from fedretune.data.images import open_image
from fedretune.data.manifest import Manifest, load_manifest, write_manifest
from fedretune.embeddings import ahead, embed_images, images
from fedretune.errors import UserError
from tests.backbones.tiny import write_folder


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return make_manifest(tmp_path, 10)


def make_manifest(folder: Path, count: int) -> Manifest:
    names = [f"{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    table = pd.DataFrame({"image": names, "patient": names, "split": "train", "Mass": 0})
    return load_manifest(write_manifest(table, folder / "manifest.csv"))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record every time that a backbone is loaded."""
    seen: list[str] = []

    def load(name: str, *options: object) -> object:
        seen.append(name)
        return load_backbone(name, *options)

    monkeypatch.setattr(images, "load_backbone", load)
    return seen


def test_vectors_are_the_backbones_own_to_float16(manifest: Manifest, backbone: str) -> None:
    model = load_backbone(backbone)
    batch = torch.stack([model.preprocess(open_image(path)) for path in manifest.images])
    expected = model.encode_images(batch).numpy()
    vectors = embed_images(manifest, backbone).take(range(10))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=2e-3)


def test_a_second_run_loads_no_backbone(
    manifest: Manifest, backbone: str, loads: list[str]
) -> None:
    first = embed_images(manifest, backbone)
    second = embed_images(manifest, backbone)
    assert (first.encoded, second.encoded, loads) == (10, 0, [backbone])
    np.testing.assert_array_equal(first.take(range(10)), second.take(range(10)))


def test_only_new_images_are_encoded(tmp_path: Path, backbone: str, loads: list[str]) -> None:
    assert embed_images(make_manifest(tmp_path, 4), backbone).encoded == 4
    assert embed_images(make_manifest(tmp_path, 7), backbone).encoded == 3


def test_a_changed_image_is_encoded_again(manifest: Manifest, backbone: str) -> None:
    before = embed_images(manifest, backbone).take([2, 3])
    Image.new("L", (40, 40), 7).save(manifest.images[3])
    after = embed_images(manifest, backbone)
    assert after.encoded == 1
    np.testing.assert_array_equal(after.take([2])[0], before[0])
    assert not np.array_equal(after.take([3])[0], before[1])


def test_changed_preprocessing_is_noticed(manifest: Manifest, tmp_path: Path) -> None:
    plain = write_folder(tmp_path / "plain")
    stretched = write_folder(tmp_path / "stretched", std=[0.1] * 3)
    one = embed_images(manifest, str(plain))
    two = embed_images(manifest, str(stretched))
    assert two.encoded == 10
    assert not np.array_equal(one.take(range(10)), two.take(range(10)))


def test_other_weights_have_a_store_of_their_own(manifest: Manifest, tmp_path: Path) -> None:
    one = embed_images(manifest, str(write_folder(tmp_path / "one", seed=1)))
    two = embed_images(manifest, str(write_folder(tmp_path / "two", seed=2)))
    assert (one.encoded, two.encoded) == (10, 10)


def test_the_same_pixels_under_two_names_are_stored_once(tmp_path: Path, backbone: str) -> None:
    manifest = make_manifest(tmp_path, 3)
    manifest.images[2].write_bytes(manifest.images[0].read_bytes())
    embeddings = embed_images(manifest, backbone)
    assert embeddings.encoded == 2
    assert embeddings.rows[0] == embeddings.rows[2] != embeddings.rows[1]


def test_rows_pick_images_in_the_order_asked(manifest: Manifest, backbone: str) -> None:
    some = embed_images(manifest, backbone, rows=[7, 2])
    assert some.encoded == 2
    everything = embed_images(manifest, backbone)
    np.testing.assert_array_equal(some.take([0, 1]), everything.take([7, 2]))


def test_an_unreadable_image_is_named_with_its_line_and_the_others_stay_stored(
    tmp_path: Path, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_BATCH", 4)
    manifest = make_manifest(tmp_path, 10)
    manifest.images[9].write_bytes(manifest.images[9].read_bytes()[:200])
    with pytest.raises(UserError, match=r"manifest\.csv, line 11: .*9\.png"):
        embed_images(manifest, backbone)
    assert embed_images(manifest, backbone, rows=range(8)).encoded == 0


def test_a_vanished_image_is_named_with_its_line(manifest: Manifest, backbone: str) -> None:
    manifest.images[4].unlink()
    with pytest.raises(UserError, match=r"manifest\.csv, line 6: .*4\.png"):
        embed_images(manifest, backbone)


def test_a_killed_run_continues_where_it_stopped(
    manifest: Manifest, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_BATCH", 4)

    def stop(done: int, _: int) -> None:
        if done > 4:  # the second batch of four is stored by then
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_images(manifest, backbone, progress=stop)
    assert embed_images(manifest, backbone).encoded == 2


def test_progress_ends_at_the_number_asked_for(
    manifest: Manifest, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_CHUNK", 4)
    for encoded in (10, 0):
        steps: list[tuple[int, int]] = []
        embeddings = embed_images(manifest, backbone, progress=recorder(steps))
        done = [step[0] for step in steps]
        assert done == sorted(done)
        assert steps[-1] == (10, 10)
        assert embeddings.encoded == encoded


def recorder(steps: list[tuple[int, int]]) -> images.Progress:
    return lambda done, total: steps.append((done, total))


def test_a_file_replaced_between_hashing_and_decoding_is_filed_under_its_own_bytes(
    manifest: Manifest, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = [hashlib.sha256(b"older").digest() for _ in range(10)]
    monkeypatch.setattr(ahead, "file_digests", lambda paths: stale[: len(paths)])
    racing = embed_images(manifest, backbone).take(range(10))
    monkeypatch.undo()
    monkeypatch.setenv("FEDRETUNE_CACHE", str(manifest.path.parent / "cache"))
    settled = embed_images(manifest, backbone)
    assert settled.encoded == 0
    np.testing.assert_array_equal(racing, settled.take(range(10)))


def test_broken_weights_are_an_error_and_store_nothing(manifest: Manifest, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_folder(tmp_path / "broken")
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.proj"][:] = float("nan")
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(UserError, match="no finite float16 numbers"):
        embed_images(manifest, str(folder))
    assert len(images.open_store(describe(str(folder)))) == 0


KILLED = """
import os, signal, sys
from fedretune.data.manifest import load_manifest
from fedretune.embeddings import embed_images, images
images._BATCH = 8

def progress(done, total):
    if done > 16:
        os.kill(os.getpid(), signal.SIGKILL)

embed_images(load_manifest(sys.argv[1]), sys.argv[2], progress=progress)
"""


def test_a_process_killed_outright_leaves_a_store_that_the_next_one_completes(
    tmp_path: Path, backbone: str
) -> None:
    manifest = make_manifest(tmp_path, 40)
    command = [sys.executable, "-c", KILLED, str(manifest.path), backbone]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert embed_images(manifest, backbone).encoded == 40 - 24
    whole = embed_images(manifest, backbone)
    assert (whole.encoded, len(set(whole.rows.tolist()))) == (0, 40)
