"""A run killed at any step goes on to the same bytes, with what sites remember and who is left."""

import os
import signal
import subprocess
import sys

import pytest

import server.folder
import server.locking
from fedretune.errors import UserError
from server.folder import RunFolder
from tests.run_folders import adaptors, killed_after


@pytest.mark.parametrize("step", [2, 3, 4, 5, 6, 7])
def test_a_site_remembers_what_it_wrote_before_the_servers_checkpoint(
    synthetic_run, finished, monkeypatch, step
):
    """Killed before the checkpoint of a round: its sites have written, the server has not."""
    how = {"method": "ewc+replay", "remedy__replay": 5}
    whole, _ = finished(**how)
    with killed_after(step, monkeypatch):
        synthetic_run("killed", **how)
    killed, _ = synthetic_run("killed", resume=True, **how)
    assert adaptors(killed) == adaptors(whole)
    written = list((whole / "memory").rglob("*.safetensors"))
    assert len(written) == 12  # 3 sites, 2 experiences, begun and ended
    for memory in written:
        assert (killed / memory.relative_to(whole)).read_bytes() == memory.read_bytes()


def test_a_run_killed_twice_at_the_same_step_and_with_its_last_checkpoint_lost_goes_on(
    synthetic_run, finished, monkeypatch, tmp_path
):
    whole, _ = finished()
    with killed_after(5, monkeypatch):
        synthetic_run("killed")
    with killed_after(5, monkeypatch):
        synthetic_run("killed", resume=True)
    folder = tmp_path / "killed"
    last = sorted((folder / "checkpoints").glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-7])
    synthetic_run("killed", resume=True)
    assert adaptors(folder) == adaptors(whole)
    assert (folder / "auroc.csv").read_bytes() == (whole / "auroc.csv").read_bytes()


HOLDER = """
import sys, time
from pathlib import Path
from server.locking import locked
lock = locked(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_of_a_killed_process_vanishes_with_it(tmp_path, monkeypatch):
    RunFolder.create(tmp_path, "run", {}).close()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout.readline() == b"held\n"
        monkeypatch.setattr(server.locking, "PATIENCE", 0.05)
        with pytest.raises(UserError, match="Another process is at work on the run") as error:
            server.folder.check_place(tmp_path, "run", resume=True)
        assert error.value.exit_code == 2
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    RunFolder.reopen(tmp_path, "run").close()


def test_a_run_that_ended_without_a_quorum_leaves_its_folder_to_the_next(synthetic_run):
    def failing(message, context):
        raise OSError("gone")

    with pytest.raises(UserError, match="No site can take part"):
        synthetic_run(client_app=failing)
    folder, summary = synthetic_run(resume=True)
    assert summary["status"] == "complete"
    assert not (folder / ".lock").exists()
