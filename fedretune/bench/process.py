"""Running a fresh Python, for the rows where starting, or memory, is what is measured."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

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
    started = time.perf_counter()
    with tempfile.TemporaryFile() as unread:
        usage = _finished(arguments, unread)
    seconds = time.perf_counter() - started
    peak = mib_of(usage)
    return Sample(seconds, peak if peak > peak_mib() else None)


def printed(arguments: Sequence[str]) -> str:
    """Run this Python with `arguments` to its end; return what it printed.

    Raises `UserError` as `python` does.
    """
    with tempfile.TemporaryFile() as output:
        _finished(arguments, output)
        output.seek(0)
        return output.read().decode()


def _finished(arguments: Sequence[str], output: IO[bytes]) -> resource.struct_rusage:
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen([sys.executable, *arguments], stdout=output, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)  # the only wait that tells one child's memory
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            raise UserError(f"A process of the bench failed: {' '.join(lines[-1:])}")
    return usage
