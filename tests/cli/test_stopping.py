"""Stopping in order: signals, and all processes below one."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import typer

from fedretune.cli import processes
from fedretune.cli.processes import end, groups_below
from fedretune.cli.stopping import resume_advice, resume_command, stoppable


def interrupted(number, tidied):
    with stoppable(lambda: f"Saved: {tidied}."):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), number)  # a second one does not disturb the tidying up
            tidied.append("all")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_block_in_order_and_tells_how_to_go_on(number, capsys):
    before = signal.getsignal(number)
    with pytest.raises(typer.Exit) as ended:
        interrupted(number, [])
    assert ended.value.exit_code == 128 + number
    assert "Saved: ['all']." in capsys.readouterr().err
    assert signal.getsignal(number) == before


def test_the_command_that_resumes_can_be_pasted_into_a_shell(tmp_path):
    options = {"sites": 2, "out": "my runs", "resume": True}
    command = resume_command("run", options, ["adaptor.kind=linear"], "it's", tmp_path)
    assert shlex.split(command) == [
        *("fedretune", "run", "--sites", "2", "--out", "my runs", "--name", "it's"),
        *("--app", str(tmp_path), "--set", "adaptor.kind=linear", "--resume"),
    ]


def test_only_a_run_that_has_begun_can_be_gone_on_with(tmp_path):
    assert "again" in resume_advice(tmp_path, "fedretune run")
    (tmp_path / "config.toml").touch()
    assert resume_advice(tmp_path, "fedretune run").endswith("Go on with:\n  fedretune run")


#: A process that starts one of its own in a new session, which starts another and is stubborn.
FAMILY = """
import signal, subprocess, sys, time
depth = int(sys.argv[1])
if depth == 1:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if depth:
    code = [sys.executable, "-c", sys.argv[2], str(depth - 1), sys.argv[2]]
    subprocess.Popen(code, start_new_session=depth == 2)
else:
    print("ready", flush=True)
time.sleep(60)
"""


def test_ending_a_process_ends_those_below_it_in_sessions_of_their_own():
    command = [sys.executable, "-c", FAMILY, "2", FAMILY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout.readline() == b"ready\n"
        groups = groups_below(process.pid)
        assert len(groups) == 2
        end(process, 1.0)
        assert process.returncode == -signal.SIGTERM
    assert not groups & {group for _, _, group in processes.alive()}


def test_the_own_group_is_never_among_those_to_end():
    assert os.getpgrp() not in groups_below(os.getpid())


def test_ps_where_there_is_no_proc_tells_the_same():
    if not shutil.which("ps"):
        pytest.skip("there is no ps here")
    mine = next(row for row in processes._from_ps() if row[0] == os.getpid())
    assert mine[2:] == (str(os.getppid()), str(os.getpgrp()))
