"""One process at a time at work on a run. The lock vanishes with the process that holds it."""

from pathlib import Path

from filelock import FileLock, Timeout

from fedretune.errors import UserError

LOCK = ".lock"
#: Seconds that a killed process's workers may take to notice, and with them the lock to vanish.
PATIENCE = 5.0


def locked(run: Path) -> FileLock:
    """Return the lock of a run's folder, held. Raises `UserError` if another process holds it."""
    lock = FileLock(run / LOCK, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"Another process is at work on the run {run}: wait for it or end it, or start "
            "another run under another --name."
        ) from None
    return lock


def release(lock: FileLock) -> None:
    """Let another process have the folder, and leave no file behind."""
    if lock.is_locked:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
