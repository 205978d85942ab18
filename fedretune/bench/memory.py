"""The highest resident memory of this process or of a child."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
#: What ``ru_maxrss`` counts in: KiB on Linux, bytes on macOS.
_UNIT = 1 if sys.platform == "darwin" else 1024


def reset_peak() -> None:
    """Forget the peak so far, where the system can (Linux); elsewhere it is the process's whole."""
    with suppress(OSError):
        _CLEAR.write_text("5")


def peak_mib() -> float:
    """Return the highest resident memory since `reset_peak`, in MiB, all that was there with it."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return mib_of(resource.getrusage(resource.RUSAGE_SELF))


def resident_mib() -> float:
    """Return the resident memory now, in MiB, and forget the peak before; see `reset_peak`."""
    reset_peak()
    return peak_mib()


def mib_of(usage: resource.struct_rusage) -> float:
    """Return ``ru_maxrss`` in MiB."""
    return usage.ru_maxrss * _UNIT / 2**20
