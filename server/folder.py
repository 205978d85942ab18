"""The run folder: complete at every moment, so that a killed run goes on where it was.

Tables are only ever appended to. A checkpoint, made after each step, says how long each of them
was; resuming cuts them back to that, and the run goes on as if it had never stopped. A lock keeps
a second process out, and vanishes with the one that holds it, however that one ends.
"""

import csv
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import Any, TextIO

import tomli_w

from fedretune.errors import UserError
from fedretune.paths import filling, synced, writing
from fedretune.wire import Array
from server.checkpoints import Checkpoint, drop_after, latest, write_checkpoint
from server.locking import locked, release

TABLES = {
    "metrics.jsonl": (),
    "auroc.csv": (
        "model",
        "after_experience",
        "site",
        "experience",
        "finding",
        "scoring",
        "positives",
        "negatives",
        "auroc",
    ),
    "measures.csv": (
        "model",
        "after_experience",
        "site",
        "experience",
        "finding",
        "scoring",
        "average_precision",
        "f1",
        "ece",
    ),
    "findings.csv": (
        "model",
        "after_experience",
        "finding",
        "scoring",
        "positives",
        "negatives",
        "auroc",
    ),
    "traffic.csv": ("experience", "round", "site", "kind", "direction", "bytes"),
    "sites.csv": ("site", "experience", "round", "status", "reason"),
    "privacy.csv": (
        "site",
        "experience",
        "round",
        "epsilon",
        "delta",
        "rate",
        "steps",
        "clip",
        "unit",
        "source",
    ),
}

Tables = Mapping[str, Mapping[str, Any]]


class RunFolder:
    """One run's files, ``<out>/<name>/``. Make it with `create` or `reopen`; `close` it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Of all messages so far, by direction.
        self.bytes = {"down": 0, "up": 0}
        self._started = time.monotonic()
        self._before = 0.0
        self._files: dict[str, TextIO] = {}
        self._synced: dict[str, int] = {}
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._written: Future[None] | None = None
        self._lock = locked(path)

    @classmethod
    def create(cls, out: Path, name: str, config: Tables) -> "RunFolder":
        """Make a new folder, whole or not at all, with `config` as its ``config.toml``.

        Raises `UserError` if it exists or cannot be written.
        """
        path = out / check_place(out, name, resume=False)
        for left in out.glob(f".{escape(path.name)}.partial-*"):  # of a process killed right here
            shutil.rmtree(left, ignore_errors=True)
        try:
            with filling(path) as draft:
                (draft / "checkpoints").mkdir()
                for table, columns in TABLES.items():
                    (draft / table).write_text(_header(columns))
                _write_config(draft, config)
        except OSError as error:  # among others: another process has just made the same one
            raise UserError(f"Cannot make {path} ({error.strerror}): choose another.") from error
        return cls(path)

    @classmethod
    def reopen(cls, out: Path, name: str) -> "RunFolder":
        """Open a folder to resume it.

        Raises `UserError` if there is no such run, or another process is at work on it.
        """
        return cls(out / check_place(out, name, resume=True))

    def close(self) -> None:
        """Close the tables, and let another process have the folder."""
        while self._files:
            self._files.popitem()[1].close()
        self._writer.shutdown()
        release(self._lock)

    def write_config(self, tables: Tables) -> None:
        """Write ``config.toml``: the resolved config, versions and fingerprints."""
        _write_config(self.path, tables)

    def event(self, kind: str, **values: object) -> None:
        """Append a line to ``metrics.jsonl``, and tell it in Flower's log, which is streamed."""
        told = [f"{key} {value}" for key, value in values.items() if not isinstance(value, list)]
        logging.getLogger("flwr").info("%s: %s", kind, ", ".join(told))
        line = {"time": round(time.time(), 3), "event": kind, **values}
        self._append("metrics.jsonl", json.dumps(line) + "\n")

    def site(self, site: str, experience: int, round_: int, status: str, reason: str) -> None:
        """Append a line to ``sites.csv``, and an event if the site is not part of this step."""
        self.rows("sites.csv", [(site, experience, round_, status, reason)])
        if status not in ("joined", "trained"):
            where = {"experience": experience, "round": round_}
            self.event("site", site=site, status=status, reason=reason, **where)

    def traffic(
        self, site: str, experience: int, round_: int, kind: str, direction: str, size: int
    ) -> None:
        """Append one message's bytes to the ledger, ``traffic.csv``, and count them."""
        self.bytes[direction] += size
        self.rows("traffic.csv", [(experience, round_, site, kind, direction, size)])

    def rows(self, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Append rows to a table; see `TABLES` for its columns."""
        if table not in self._files:
            self._files[table] = (self.path / table).open("a", newline="")
        csv.writer(self._files[table], lineterminator="\n").writerows(rows)
        self._files[table].flush()

    def read(self, table: str) -> Iterator[dict[str, str]]:
        """Yield a table's rows, by column."""
        with (self.path / table).open(newline="") as file:
            yield from csv.DictReader(file)

    def seconds(self) -> float:
        """Return the seconds spent on the run, those before a resume included."""
        return self._before + time.monotonic() - self._started

    def checkpoint(self, step: int, arrays: Mapping[str, Array]) -> None:
        """Make the state after `step` steps the one that a resumed run starts from.

        The disk gets it beside the next step: `arrays` must not change. What is said of the tables
        is of this moment, so until it is there the run would go on from the one before. Raises
        what writing the one before it raised.
        """
        self._wait()
        lengths = {table: (self.path / table).stat().st_size for table in TABLES}
        grown = [table for table in TABLES if lengths[table] != self._synced.get(table)]
        self._synced = lengths
        made = Checkpoint(step, self.seconds(), lengths, dict(arrays))
        self._written = self._writer.submit(self._write, made, grown)

    def _write(self, made: Checkpoint, grown: Iterable[str]) -> None:
        # What a checkpoint says of the tables must outlast a power cut as it does.
        for table in grown:
            synced(self.path / table)
        write_checkpoint(self.path / "checkpoints", made)

    def settle(self) -> None:
        """Wait until all is on the disk, and close the tables. Raises what `checkpoint` does."""
        while self._files:
            self._files.popitem()[1].close()
        self._wait()

    def _wait(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def restore(self) -> tuple[int, dict[str, Array]]:
        """Cut the tables back to the last sound checkpoint; return its step and adaptor.

        Step 0 and no arrays when there is none: the run starts from its beginning.
        """
        self._tidy()
        empty = {table: len(_header(columns)) for table, columns in TABLES.items()}
        found = latest(self.path / "checkpoints", self._lengths()) or Checkpoint(0, 0.0, empty, {})
        drop_after(self.path / "checkpoints", found.step)
        for table, length in found.lengths.items():
            os.truncate(self.path / table, length)
        self._before = found.seconds
        for row in self.read("traffic.csv"):
            self.bytes[row["direction"]] += int(row["bytes"])
        return found.step, found.arrays

    def _tidy(self) -> None:
        """Remove what a killed process was writing, and put back a table that has gone."""
        for folder in (self.path, self.path / "checkpoints"):
            for left in folder.glob(".*.*"):
                left.unlink()
        for table, columns in TABLES.items():
            if self._lengths().get(table, 0) < len(_header(columns)):
                (self.path / table).write_text(_header(columns))

    def _lengths(self) -> dict[str, int]:
        sizes = {table: self.path / table for table in TABLES}
        return {
            table: path.stat().st_size if path.is_file() else 0 for table, path in sizes.items()
        }

    def _append(self, table: str, text: str) -> None:
        with (self.path / table).open("a", newline="") as file:
            file.write(text)


def check_place(out: Path, name: str, resume: bool) -> str:
    """Return the name of a run folder that can be made, or resumed.

    Raises
    ------
    UserError
        A new run's folder exists or cannot be written; or there is nothing to resume, or another
        process is at work on it.
    """
    if name != Path(name).name or name == "..":
        raise UserError(f"--name is one folder's name, not '{name}': --out says where it goes.")
    path = out / (name or _free_name(out))
    if resume:
        if not name or not (path / "config.toml").is_file():
            what = f"no run to resume at {path}" if name else "no name of a run to resume"
            raise UserError(f"There is {what}. {_runs_in(out)}: name one with --name.")
        release(locked(path))
    elif path.exists():
        raise UserError(f"The run folder {path} exists: --resume it, or choose another --name.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path if resume else out):
            pass
    except OSError as error:
        raise UserError(
            f"Cannot write to {out} ({error.strerror}): choose another --out."
        ) from error
    return path.name


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file that is there whole or not at all."""
    with writing(path) as file:
        file.write((json.dumps(values, indent=2) + "\n").encode())


def _header(columns: tuple[str, ...]) -> str:
    return ",".join(columns) + "\n" if columns else ""


def _write_config(folder: Path, tables: Tables) -> None:
    with writing(folder / "config.toml") as file:
        tomli_w.dump(tables, file)


def _runs_in(out: Path) -> str:
    """Say which runs there are, the last five by name."""
    names = sorted(path.parent.name for path in out.glob("*/config.toml"))
    if not names:
        return f"{out} holds no run"
    return f"{out} holds {', '.join(['...'] * (len(names) > 5) + names[-5:])}"


def _free_name(out: Path) -> str:
    base = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    names = [base, *(f"{base}-{number}" for number in range(2, 100))]
    return next(name for name in names if not (out / name).exists())
