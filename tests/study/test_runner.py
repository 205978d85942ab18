"""Many runs in processes of their own: each once, none lost, and none left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedretune.cli.processes import alive
from fedretune.errors import RunFailedError
from fedretune.study.plan import Cell
from fedretune.study.runner import run_cells
from tests.study import engines


def configs(out, seeds):
    cells = [Cell("s", "", "retune", seed) for seed in seeds]
    return {cell: {"out": str(out), "name": cell.name, "seed": cell.seed} for cell in cells}


def ran(wanted, engine, jobs=2):
    return dict(run_cells(wanted, engine, jobs, engines.nothing))


def test_each_run_is_made_once_and_goes_on_where_its_folder_stands(tmp_path):
    wanted = configs(tmp_path, range(4))
    names = [cell.name for cell in wanted]
    (tmp_path / names[1]).mkdir()
    (tmp_path / names[1] / "metrics.jsonl").touch()  # killed before it said what it is
    (tmp_path / names[2]).mkdir()
    (tmp_path / names[2] / "config.toml").touch()
    assert ran(wanted, engines.note) == dict.fromkeys(wanted)
    started = [(tmp_path / name / "started").read_text() for name in names]
    assert started == ["anew\n", "anew\n", "resumed\n", "anew\n"]
    assert not (tmp_path / names[1] / "metrics.jsonl").exists()


def test_a_run_that_fails_is_told_with_its_reason_and_the_others_go_on(tmp_path):
    found = ran(configs(tmp_path, (1, 2, 3)), engines.fail_at_b)
    assert {cell.seed: reason for cell, reason in found.items()} == {
        1: "too few sites",
        2: "ZeroDivisionError: division by zero",
        3: None,
    }


def test_a_process_that_is_ended_from_outside_ends_the_study_with_a_mend(tmp_path):
    with pytest.raises(RunFailedError, match="fewer --jobs; the same command goes on"):
        ran(configs(tmp_path, (1, 2)), engines.die, jobs=1)


PARENT = """
import sys
from tests.study.test_runner import configs, ran, engines
if __name__ == "__main__":
    ran(configs(sys.argv[1], (1, 2)), engines.sleep)
"""


@pytest.fixture
def parent(tmp_path):
    """Give a process whose two workers are at work."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], start_new_session=True, env=env
    ) as process:
        assert until(lambda: len([*tmp_path.glob("[0-9]*")]) == 2)
        yield process
        process.kill()


def until(condition):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not condition():
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_the_study(parent, number, tmp_path):
    workers = {int(path.name) for path in tmp_path.glob("[0-9]*")}
    os.kill(parent.pid, number)
    assert until(lambda: not workers & {pid for pid, _, _ in alive()})
    assert parent.wait(60) != 0
