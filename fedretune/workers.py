"""Worker processes: how many there is room for, and how one behaves.

Light at import: a worker that is started anew begins here.
"""

import ctypes
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

#: glibc's names for how much freed memory a process keeps, and from which size on a block is
#: given back as soon as it is free (``malloc.h``); and what they are set to, in bytes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGE = 64 * 2**20, 32 * 2**20


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let this process keep up to 64 MiB that it has freed, where its C library is glibc.

    A step of training frees gradients of some megabytes and asks for as many again. Given back and
    taken anew each time, they are cleared page by page: at 512 dimensions up to a third of a step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MMAP_THRESHOLD, _LARGE)


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
