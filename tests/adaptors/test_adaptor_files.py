from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fedretune.adaptors import AdaptorSpec, build, load, save, to_arrays
from fedretune.errors import UserError

SPEC = AdaptorSpec("mlp", "double", 4, True, "learnable")


def test_the_same_adaptor_gives_the_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    arrays = to_arrays(build(SPEC, 0))
    backwards = dict(reversed(arrays.items()))
    save(tmp_path / "a", SPEC, arrays, {"seed": 1, "sites": ["a", "b"], "findings": {"x": 0}})
    save(tmp_path / "b", SPEC, backwards, {"findings": {"x": 0}, "sites": ["a", "b"], "seed": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_is_the_adaptors_size_and_little_more(tmp_path: Path) -> None:
    arrays = to_arrays(build(SPEC, 0))
    save(tmp_path / "a", SPEC, arrays, {})
    assert (tmp_path / "a").stat().st_size < sum(a.nbytes for a in arrays.values()) + 4096


def test_saving_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    for _ in range(2):
        save(tmp_path / "a", SPEC, to_arrays(build(SPEC, 0)), {})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch) -> None:
    save(tmp_path / "a", SPEC, to_arrays(build(SPEC, 0)), {"round": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        save(tmp_path / "a", SPEC, to_arrays(build(SPEC, 1)), {"round": 2})
    assert load(tmp_path / "a")[2] == {"round": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_saving_where_no_folder_can_be_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "no").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="no/a: cannot be written"):
        save(tmp_path / "no" / "a", SPEC, to_arrays(build(SPEC, 0)), {})


def test_saving_arrays_of_another_adaptor_is_refused(tmp_path: Path) -> None:
    other = AdaptorSpec("linear", "double", 4, True, "learnable")
    with pytest.raises(UserError, match="hidden"):
        save(tmp_path / "a", SPEC, to_arrays(build(other, 0)), {})
    assert not (tmp_path / "a").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.safetensors: cannot be read"):
        load(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 40, -1])
def test_a_truncated_file_is_named(tmp_path: Path, keep: int) -> None:
    save(tmp_path / "a", SPEC, to_arrays(build(SPEC, 0)), {})
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:keep])
    with pytest.raises(UserError, match="a: not a sound safetensors file"):
        load(tmp_path / "a")


@pytest.mark.parametrize("metadata", [None, {"fedretune": "{}"}, {"fedretune": "no json"}])
def test_a_file_of_another_origin_is_named(tmp_path: Path, metadata: dict | None) -> None:
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "a", metadata=metadata)
    with pytest.raises(UserError, match="a: a safetensors file, but not one that FedRETune wrote"):
        load(tmp_path / "a")
