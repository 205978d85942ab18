"""Ending a process with all that it started, however deep and in whatever process group.

Flower's SuperLink starts a SuperExec in a session of its own, and that one the run; neither ends
with it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Seconds between two looks at whether a process has ended.
POLL = 0.1


def groups_below(pid: int) -> set[int]:
    """Return the process groups of `pid`, its children, theirs, and so on; never our own."""
    children: dict[int, list[int]] = {}
    group_of: dict[int, int] = {}
    for process, parent, group in alive():
        children.setdefault(parent, []).append(process)
        group_of[process] = group
    found, todo = set(), [pid]
    while todo:
        process = todo.pop()
        found.add(group_of.get(process, process))
        todo += children.get(process, [])
    return found - {os.getpgrp()}


def end(process: "subprocess.Popen[bytes]", patience: float) -> None:
    """End a process that leads its group, and all below it: politely, then not.

    Parameters
    ----------
    process : subprocess.Popen
        Started with ``start_new_session=True``.
    patience : float
        Seconds that they have to end by themselves, and again to be gone once killed.
    """
    groups = groups_below(process.pid)
    for how in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            _signal(group, how)
        deadline = time.monotonic() + patience
        while groups and time.monotonic() < deadline:
            time.sleep(POLL)
            groups &= {group for _, _, group in alive()}
    process.poll()


def _signal(group: int, number: int) -> None:
    # PermissionError: macOS says so of a group of ended processes.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def alive() -> list[tuple[int, int, int]]:
    """Return (process, parent, group) of each process on this machine that has not ended."""
    rows = _from_proc() if Path("/proc/self/stat").is_file() else _from_ps()
    # Z: ended, but nobody has asked how; its group is there until somebody does.
    return [(pid, int(parent), int(group)) for pid, state, parent, group in rows if state[0] != "Z"]


def _from_proc() -> Iterator[tuple[int, str, str, str]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # Behind the command's name, which may hold anything: state, parent, group.
            state, parent, group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
        except (OSError, ValueError):  # it has ended since
            continue
        yield int(stat.parent.name), state, parent, group


def _from_ps() -> Iterator[tuple[int, str, str, str]]:
    listing = ["ps", "-A", "-o", "pid=", "-o", "stat=", "-o", "ppid=", "-o", "pgid="]
    for line in subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    ):
        if line.strip():
            pid, state, parent, group = line.split()
            yield int(pid), state, parent, group
