"""The run folder: complete at every moment, so that a killed run goes on where it was.

Tables are only ever appended to. A checkpoint, made after each step, says how long each of them
was; resuming cuts them back to that, and the run goes on as if it had never stopped.
"""

import csv
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import tomli_w
from safetensors.numpy import load, save

from fedretune.errors import UserError
from fedretune.paths import writing
from fedretune.wire import Array

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
}

#: How many checkpoints are kept: an unreadable last one costs a step, not the run.
KEPT = 3


class RunFolder:
    """One run's files, ``<out>/<name>/``. Make it with `create` or `reopen`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started = time.monotonic()
        self._before = 0.0
        self._files: dict[str, TextIO] = {}
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._written: Future[None] | None = None

    @classmethod
    def create(cls, out: Path, name: str) -> "RunFolder":
        """Make a new folder. Raises `UserError` if it exists or cannot be written."""
        path = out / check_place(out, name, resume=False)
        (path / "checkpoints").mkdir(parents=True)
        folder = cls(path)
        for table, columns in TABLES.items():
            folder._append(table, ",".join(columns) + "\n" if columns else "")
        return folder

    @classmethod
    def reopen(cls, out: Path, name: str) -> "RunFolder":
        """Open a folder to resume it. Raises `UserError` if there is no such run."""
        return cls(out / check_place(out, name, resume=True))

    def write_config(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Write ``config.toml``: the resolved config, versions and fingerprints."""
        with writing(self.path / "config.toml") as file:
            tomli_w.dump(tables, file)

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
        """Append one message's bytes to the ledger, ``traffic.csv``."""
        self.rows("traffic.csv", [(experience, round_, site, kind, direction, size)])

    def rows(self, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Append rows to a table; see `TABLES` for its columns."""
        if table not in self._files:
            self._files[table] = (self.path / table).open("a", newline="")
        csv.writer(self._files[table], lineterminator="\n").writerows(rows)
        self._files[table].flush()

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
        state = {
            "step": step,
            "seconds": self.seconds(),
            "lengths": {table: (self.path / table).stat().st_size for table in TABLES},
        }
        self._written = self._writer.submit(_write_checkpoint, self.path, state, dict(arrays))

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
        for path in sorted((self.path / "checkpoints").glob("step-*.json"), reverse=True):
            found = _read_checkpoint(path)
            if found is None:
                continue
            state, arrays = found
            for table, length in state["lengths"].items():
                os.truncate(self.path / table, length)
            self._before = float(state["seconds"])
            return int(state["step"]), arrays
        for table, columns in TABLES.items():
            os.truncate(self.path / table, len(",".join(columns)) + 1 if columns else 0)
        return 0, {}

    def _append(self, table: str, text: str) -> None:
        with (self.path / table).open("a", newline="") as file:
            file.write(text)


def check_place(out: Path, name: str, resume: bool) -> str:
    """Return the name of a run folder that can be made, or resumed.

    Raises
    ------
    UserError
        A new run's folder exists or cannot be written; or there is nothing to resume.
    """
    if name != Path(name).name or name == "..":
        raise UserError(f"--name is one folder's name, not '{name}': --out says where it goes.")
    path = out / (name or _free_name(out))
    if resume:
        if not name or not (path / "config.toml").is_file():
            what = f"no run to resume at {path}" if name else "no name of a run to resume"
            raise UserError(f"There is {what}. {_runs_in(out)}: name one with --name.")
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


def _write_checkpoint(folder: Path, state: dict[str, Any], arrays: dict[str, Array]) -> None:
    tensors = save(arrays)
    base = folder / "checkpoints" / f"step-{state['step']:05}"
    with writing(base.with_suffix(".safetensors")) as file:
        file.write(tensors)
    # The state comes last: a checkpoint without it does not exist.
    digest = hashlib.sha256(tensors).hexdigest()
    write_json(base.with_suffix(".json"), {**state, "sha256": digest})
    for old in sorted(base.parent.glob("step-*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """Return a checkpoint's state and arrays, or None if it is not whole."""
    try:
        state = json.loads(path.read_text())
        tensors = path.with_suffix(".safetensors").read_bytes()
    except (OSError, ValueError):
        return None
    if hashlib.sha256(tensors).hexdigest() != state["sha256"]:
        return None
    return state, dict(load(tensors))


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
