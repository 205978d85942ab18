import threading

import numpy as np
import pytest

import server.folder
from fedretune.errors import UserError
from server.folder import KEPT, RunFolder


@pytest.fixture
def folder(tmp_path):
    made = RunFolder.create(tmp_path, "a")
    made.write_config({"config": {"seed": 1}})
    return made


def weights(value: float):
    return {"w": np.full(3, value, np.float32)}


def test_a_folder_that_exists_is_refused(folder):
    with pytest.raises(UserError, match="exists"):
        RunFolder.create(folder.path.parent, "a")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        RunFolder.create(tmp_path / "file" / "runs", "a")


def test_resuming_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run to resume"):
        RunFolder.reopen(tmp_path, "a")


def test_restoring_cuts_the_tables_back_to_the_checkpoint(folder):
    folder.event("round", loss=0.5)
    folder.checkpoint(3, weights(1.0))
    folder.settle()
    kept = (folder.path / "metrics.jsonl").read_text()
    folder.event("round", loss=0.4)
    step, arrays = RunFolder.reopen(folder.path.parent, "a").restore()
    assert step == 3
    assert np.array_equal(arrays["w"], weights(1.0)["w"])
    assert (folder.path / "metrics.jsonl").read_text() == kept


@pytest.mark.parametrize("harm", ["truncate", "alter", "remove"])
def test_a_harmed_checkpoint_is_noticed_and_the_one_before_it_used(folder, harm):
    folder.checkpoint(1, weights(1.0))
    folder.checkpoint(2, weights(2.0))
    folder.settle()
    path = folder.path / "checkpoints" / "step-00002.safetensors"
    data = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if harm == "truncate" else data[:-1] + bytes([data[-1] ^ 1]))
    step, arrays = folder.restore()
    assert (step, float(arrays["w"][0])) == (1, 1.0)


def test_without_a_checkpoint_the_run_starts_from_its_beginning(folder):
    folder.traffic("a", 0, 0, "train", "up", 100)
    assert folder.restore() == (0, {})
    assert (folder.path / "traffic.csv").read_text().count("\n") == 1


def test_only_the_last_checkpoints_are_kept(folder):
    for step in range(1, 8):
        folder.checkpoint(step, weights(step))
    folder.settle()
    assert len(list((folder.path / "checkpoints").iterdir())) == 2 * KEPT


def test_a_checkpoint_tells_the_tables_of_its_moment_however_late_it_is_written(
    folder, monkeypatch
):
    """The first write is held back until the run has gone on."""
    release, write = threading.Event(), server.folder._write_checkpoint

    def held(*arguments):
        assert release.wait(10)
        write(*arguments)

    monkeypatch.setattr(server.folder, "_write_checkpoint", held)
    folder.traffic("a", 0, 0, "train", "up", 100)
    table = folder.path / "traffic.csv"
    kept = table.read_text()
    folder.checkpoint(1, weights(1.0))
    folder.traffic("a", 0, 1, "train", "up", 200)
    assert not list((folder.path / "checkpoints").iterdir())
    assert table.read_text() != kept
    release.set()
    folder.settle()
    assert RunFolder.reopen(folder.path.parent, "a").restore()[0] == 1
    assert table.read_text() == kept


@pytest.mark.parametrize("later", [RunFolder.settle, lambda folder: folder.checkpoint(2, {})])
def test_a_checkpoint_that_cannot_be_written_stops_the_run_at_the_next_one(folder, later):
    (folder.path / "checkpoints").rmdir()
    (folder.path / "checkpoints").write_text("in the way")
    folder.checkpoint(1, weights(1.0))
    with pytest.raises(OSError, match="checkpoints"):
        later(folder)


def test_a_folder_can_be_written_to_after_it_has_settled(folder):
    for step in range(2):
        folder.traffic("a", step, 0, "train", "up", 100)
        folder.settle()
    assert (folder.path / "traffic.csv").read_text().count("\n") == 3
