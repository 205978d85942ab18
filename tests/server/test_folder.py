import threading

import numpy as np
import pytest

import server.folder
import server.locking
from fedretune.errors import UserError
from server.checkpoints import KEPT
from server.folder import TABLES, RunFolder


@pytest.fixture
def folder(tmp_path):
    made = RunFolder.create(tmp_path, "a", {"config": {"seed": 1}})
    yield made
    made.close()


def reopened(folder):
    """Return the same folder, as the next process opens it."""
    folder.close()
    return RunFolder.reopen(folder.path.parent, "a")


def weights(value: float):
    return {"w": np.full(3, value, np.float32)}


def test_a_folder_that_exists_is_refused(folder):
    with pytest.raises(UserError, match="exists"):
        RunFolder.create(folder.path.parent, "a", {})


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        RunFolder.create(tmp_path / "file" / "runs", "a", {})


def test_resuming_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run to resume"):
        RunFolder.reopen(tmp_path, "a")


def test_restoring_cuts_the_tables_back_to_the_checkpoint(folder):
    folder.event("round", loss=0.5)
    folder.checkpoint(3, weights(1.0))
    folder.settle()
    kept = (folder.path / "metrics.jsonl").read_text()
    folder.event("round", loss=0.4)
    step, arrays = reopened(folder).restore()
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
    release, write = threading.Event(), server.folder.write_checkpoint

    def held(*arguments):
        assert release.wait(10)
        write(*arguments)

    monkeypatch.setattr(server.folder, "write_checkpoint", held)
    folder.traffic("a", 0, 0, "train", "up", 100)
    table = folder.path / "traffic.csv"
    kept = table.read_text()
    folder.checkpoint(1, weights(1.0))
    folder.traffic("a", 0, 1, "train", "up", 200)
    assert not list((folder.path / "checkpoints").iterdir())
    assert table.read_text() != kept
    release.set()
    folder.settle()
    assert reopened(folder).restore()[0] == 1
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


def test_a_folder_is_whole_from_the_moment_that_it_is_there(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(server.folder, "_write_config", full)
    with pytest.raises(UserError, match="No space left"):
        RunFolder.create(tmp_path, "a", {})
    assert not list(tmp_path.iterdir())
    (tmp_path / ".a.partial-1").mkdir()  # as a killed process leaves it
    monkeypatch.undo()
    made = RunFolder.create(tmp_path, "a", {"config": {}})
    made.close()
    assert {path.name for path in made.path.iterdir()} == {*TABLES, "checkpoints", "config.toml"}
    assert list(tmp_path.iterdir()) == [made.path]


def test_what_a_killed_process_was_writing_is_removed_and_a_lost_table_begun_anew(folder):
    for name in (".config.toml.x1", "checkpoints/.step-00001.json.x1"):
        (folder.path / name).write_text("half")
    (folder.path / "auroc.csv").unlink()
    assert reopened(folder).restore() == (0, {})
    assert not list(folder.path.rglob(".*.*"))
    assert (folder.path / "auroc.csv").read_text() == ",".join(TABLES["auroc.csv"]) + "\n"


def test_a_table_that_is_shorter_than_a_checkpoint_says_leads_to_the_one_before(folder):
    folder.traffic("a", 0, 0, "train", "up", 100)
    folder.checkpoint(1, weights(1.0))
    folder.traffic("a", 0, 1, "train", "up", 200)
    folder.checkpoint(2, weights(2.0))
    folder.settle()
    table = folder.path / "traffic.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:2]) + lines[2][:-3])
    assert reopened(folder).restore()[0] == 1
    assert table.read_text() == "".join(lines[:2])
    assert not (folder.path / "checkpoints" / "step-00002.json").exists()


def test_a_second_process_is_kept_out_until_the_first_is_done(folder, monkeypatch):
    monkeypatch.setattr(server.locking, "PATIENCE", 0.01)
    with pytest.raises(UserError, match="Another process is at work on the run"):
        RunFolder.reopen(folder.path.parent, "a")
    reopened(folder).close()
    assert not (folder.path / ".lock").exists()
