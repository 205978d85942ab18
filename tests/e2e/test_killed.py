"""A process killed outright, and gone on with."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def adaptors(folder):
    return (folder / "adaptors.safetensors").read_bytes()


@pytest.mark.long
def test_a_simulation_killed_outright_resumes_to_the_same_bytes(start, tiny, tmp_path):
    options = tiny.options(tmp_path, rounds=12)
    killed = start("fedretune", "simulate", *options)
    killed.wait_for("experience 1/2  round 3/12")
    os.kill(killed.process.pid, signal.SIGKILL)
    assert killed.end()[0] == -signal.SIGKILL
    assert not (tmp_path / "it" / "summary.json").exists()
    code, err = start("fedretune", "simulate", *options, "--resume").end()
    assert code == 0, err
    assert "resumed after" in err
    whole = start("fedretune", "simulate", *tiny.options(tmp_path, name="whole", rounds=12))
    assert whole.end()[0] == 0
    assert adaptors(tmp_path / "it") == adaptors(tmp_path / "whole")
    tables = [(tmp_path / name / "auroc.csv").read_bytes() for name in ("it", "whole")]
    assert tables[0] == tables[1]


@pytest.mark.long
def test_simulations_killed_at_random_moments_end_with_the_same_bytes():
    """A few of the trials of the bench; `kill_many 200` is all of them."""
    command = [sys.executable, "-m", "tests.e2e.kill_many", "4"]
    project = Path(__file__).parents[2]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("4 of 4 with the same bytes")


def test_bad_input_in_a_real_process_ends_with_exit_code_2_and_no_traceback(start, tiny, tmp_path):
    code, err = start("fedretune", "run", *tiny.options(tmp_path), "--set", "nonsense=1").end()
    assert code == 2
    assert err.startswith("Error: Unknown config key 'nonsense'.")
    assert "Traceback" not in err
    assert not (tmp_path / "it").exists()
