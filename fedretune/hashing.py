"""SHA-256 of files, remembered so that an unchanged file is not read again."""

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from fedretune.paths import cache_folder

#: path, size, mtime_ns, ctime_ns: while they stay the same, so does the content.
Stamp = tuple[str, int, int, int]

#: A file may change again within the file system's clock tick without a new time, so what was
#: touched less than this before it was read is not remembered.
_SETTLED_NS = 2_000_000_000

_THREADS = 4
_QUERY = 500  # paths a query: SQLite takes at most 999 values in old versions


def file_digest(path: Path) -> bytes:
    """Return the 32-byte SHA-256 of a file, remembered. Raises `OSError` if it cannot be read."""
    return file_digests([path])[0]


def file_digests(paths: Sequence[Path]) -> list[bytes]:
    """Return the 32-byte SHA-256 of each file; only new and changed ones are read.

    Raises
    ------
    OSError
        A file cannot be read; its ``filename`` says which.
    """
    stamps = [_stamp(path) for path in paths]
    known = _recall(stamps)
    unknown = [position for position, stamp in enumerate(stamps) if stamp not in known]
    with ThreadPoolExecutor(_THREADS) as pool:
        fresh = list(pool.map(_read_digest, [paths[position] for position in unknown]))
    for position, digest in zip(unknown, fresh, strict=True):
        known[stamps[position]] = digest
    _remember({stamps[position]: known[stamps[position]] for position in unknown})
    return [known[stamp] for stamp in stamps]


def _read_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:  # one that comes from reading, not opening, names no file
        raise OSError(error.errno, error.strerror, str(path)) from error


def _stamp(path: Path) -> Stamp:
    status = path.stat()  # its error names the file
    return str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _recall(stamps: Sequence[Stamp]) -> dict[Stamp, bytes]:
    found: dict[Stamp, bytes] = {}
    wanted = set(stamps)
    try:
        with closing(_connect()) as database:
            for start in range(0, len(stamps), _QUERY):
                group = [stamp[0] for stamp in stamps[start : start + _QUERY]]
                marks = ",".join("?" * len(group))
                query = (
                    f"SELECT path, size, mtime, ctime, digest FROM files WHERE path IN ({marks})"
                )
                for *stamp, digest in database.execute(query, group):
                    found[tuple(stamp)] = digest
    except (sqlite3.Error, OSError):
        return {}  # a memory that cannot be read costs time, not correctness
    return {stamp: digest for stamp, digest in found.items() if stamp in wanted}


def _remember(digests: dict[Stamp, bytes]) -> None:
    settled = time.time_ns() - _SETTLED_NS
    rows = [(*stamp, digest) for stamp, digest in digests.items() if max(stamp[2:]) < settled]
    if not rows:
        return
    try:
        with closing(_connect()) as database, database:
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)
    except (sqlite3.Error, OSError):
        return  # no memory, no harm


def _connect() -> sqlite3.Connection:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(folder / "hashes.sqlite", timeout=30)
    database.execute(
        "CREATE TABLE IF NOT EXISTS files "
        "(path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, digest BLOB)"
    )
    return database
