"""Worker processes: how many there is room for, and how one behaves.

Light at import: a worker that is started anew begins here.
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def settle_in() -> None:
    """Make this process a worker: deaf to the terminal, and gone with its parent."""
    for name in ("SIGINT", "SIGHUP"):  # the parent gets them too, and ends this one
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait until the parent is gone, also by a kill, and end: else two would write one folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
