"""Running a fresh Python, for the rows where starting is what is measured."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from fedretune.bench.frame import Sample
from fedretune.bench.memory import mib_of, peak_mib
from fedretune.errors import UserError


def python(arguments: Sequence[str]) -> Sample:
    """Run this Python with `arguments` to its end: the seconds, and the child's peak.

    A child begins as a copy of its parent, whose memory the system counts as the child's first
    peak: a child that stays below it hides its own, and then no peak is given.

    Raises
    ------
    UserError
        It failed; the message is the last line that it wrote.
    """
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=log
        )
        _, status, usage = os.wait4(child.pid, 0)  # the only wait that tells one child's memory
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            raise UserError(f"A process of the bench failed: {' '.join(lines[-1:])}")
    peak = mib_of(usage)
    return Sample(seconds, peak if peak > peak_mib() else None)
