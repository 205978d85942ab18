"""A command that ends with whoever started it, together with all that it started."""

import os
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from fedretune.cli.kept import kept
from fedretune.cli.processes import alive, groups_below

#: Starts a command as `fedretune run` does, tells its process, and waits to be killed.
STARTER = """
import subprocess, sys, time
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)
print(process.pid, flush=True)
time.sleep(60)
"""

#: Starts another in a session of its own, which ignores the polite signal, as Ray's do.
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
COMMAND = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {DEAF!r}], start_new_session=True)
time.sleep(60)
"""
#: Seconds after which a test gives up.
PATIENCE = 30.0


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def living(groups):
    return groups & {group for _, _, group in alive()}


@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")
def test_a_command_and_all_that_it_started_end_when_its_starter_is_killed():
    command = [sys.executable, "-c", STARTER, *kept([sys.executable, "-c", COMMAND])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        pid = int(starter.stdout.readline())
        try:
            assert until(lambda: len(groups_below(pid)) == 3)  # itself, the command, the deaf one
            groups = groups_below(pid)
            starter.kill()
            assert until(lambda: not living(groups))
        finally:
            starter.kill()
            for group in groups_below(pid):
                with suppress(ProcessLookupError):
                    os.killpg(group, 9)


def test_its_exit_code_is_the_commands():
    with subprocess.Popen(
        kept([sys.executable, "-c", "import sys; sys.exit(7)"]), stdin=subprocess.PIPE
    ) as process:
        assert process.wait(PATIENCE) == 7


def test_it_ends_also_where_there_is_no_stdin_any_more():
    ended = subprocess.run(
        kept([sys.executable, "-c", "import time; time.sleep(60)"]),
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode != 0
