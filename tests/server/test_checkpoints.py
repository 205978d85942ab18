"""Whatever becomes of the last checkpoint's bytes, a run goes on from a true one."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.checkpoints import KEPT, Checkpoint, drop_after, latest, write_checkpoint

LENGTHS = {"metrics.jsonl": 120, "auroc.csv": 7}


def checkpoint(step):
    arrays = {"w": np.full(3, step, np.float32), "site/w": np.arange(2, dtype=np.float32)}
    return Checkpoint(step, 1.5 * step, LENGTHS, arrays)


def same(found, made):
    """Tell whether a checkpoint is, to the bit, the one that was made."""
    return (
        (found.step, found.seconds, found.lengths) == (made.step, made.seconds, made.lengths)
        and set(found.arrays) == set(made.arrays)
        and all(np.array_equal(found.arrays[name], made.arrays[name]) for name in made.arrays)
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return a folder of two checkpoints, and the bytes of the later one's files."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in (1, 2):
        write_checkpoint(folder, checkpoint(step))
    return folder, {path.name: path.read_bytes() for path in folder.glob("step-00002*")}


FILES = st.sampled_from(["step-00002.json", "step-00002.safetensors"])


@given(FILES, st.integers(0), st.integers(1, 255))
def test_a_checkpoint_with_any_byte_altered_is_passed_over_or_still_true(two, name, at, flip):
    folder, files = two
    harmed = bytearray(files[name])
    harmed[at % len(harmed)] ^= flip
    (folder / name).write_bytes(harmed)
    found = latest(folder, LENGTHS)
    (folder / name).write_bytes(files[name])
    assert same(found, checkpoint(1)) or (name.endswith("json") and same(found, checkpoint(2)))


@given(FILES, st.integers(0))
def test_a_truncated_checkpoint_is_passed_over(two, name, length):
    folder, files = two
    (folder / name).write_bytes(files[name][: length % len(files[name])])
    found = latest(folder, LENGTHS)
    (folder / name).write_bytes(files[name])
    assert same(found, checkpoint(1)) or (name.endswith("json") and same(found, checkpoint(2)))


@given(FILES, st.binary(max_size=200) | st.sampled_from([b"[]", b"null", b'{"state": 1}', b"1e9"]))
def test_any_other_bytes_in_its_place_are_passed_over(two, name, data):
    folder, files = two
    (folder / name).write_bytes(data)
    found = latest(folder, LENGTHS)
    (folder / name).write_bytes(files[name])
    assert same(found, checkpoint(1))


def test_a_checkpoint_that_nothing_happened_to_is_the_one_that_was_made(two):
    assert same(latest(two[0], LENGTHS), checkpoint(2))


def test_there_is_none_where_none_is_sound(two, tmp_path):
    shutil.copytree(two[0], tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    (tmp_path / "step-x.json").write_text(json.dumps({}))
    assert latest(tmp_path, LENGTHS) is None


def test_a_checkpoint_of_longer_tables_than_there_are_is_passed_over(two):
    assert latest(two[0], {**LENGTHS, "auroc.csv": 6}) is None


def test_the_last_ones_are_kept_also_where_steps_have_more_digits(tmp_path):
    steps = range(99_997, 100_003)
    for step in steps:
        write_checkpoint(tmp_path, checkpoint(step))
    kept = {int(path.stem[5:]) for path in tmp_path.glob("*.json")}
    assert kept == {*steps[-KEPT:]}
    assert latest(tmp_path, LENGTHS).step == steps[-1]


def test_those_after_a_step_are_dropped(tmp_path):
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, checkpoint(step))
    drop_after(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00001.json",
        "step-00001.safetensors",
    ]
