"""Ending a process with all that it started, however deep and in whatever process group.

Flower's SuperLink starts a SuperExec in a session of its own, and that one the run; neither ends
with it.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

#: Seconds between two looks at whether a process has ended.
POLL = 0.1


def groups_below(pid: int) -> set[int]:
    """Return the process groups of `pid`, its children, theirs, and so on; never our own."""
    children: dict[int, list[int]] = {}
    group_of: dict[int, int] = {}
    for process, parent, group in _processes():
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
        groups = {group for group in groups if _signal(group, how)}
        deadline = time.monotonic() + patience
        while groups and time.monotonic() < deadline:
            process.poll()  # an ended child keeps its group alive until it is asked
            groups = {group for group in groups if _signal(group, 0)}
            time.sleep(POLL)
    process.poll()


def _signal(group: int, number: int) -> bool:
    """Send a signal to a group; 0 only asks. Return whether there is such a group."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of ended processes
        return False
    return True


def _processes() -> list[tuple[int, int, int]]:
    """Return (process, parent, group) of each process on this machine."""
    if not Path("/proc/self/stat").is_file():
        listing = ["ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "pgid="]
        text = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in text.splitlines()]
        return [(int(pid), int(parent), int(group)) for pid, parent, group in rows]
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the command's name, which may hold anything: state, parent, group.
            values = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended since
            continue
        found.append((int(stat.parent.name), int(values[1]), int(values[2])))
    return found
