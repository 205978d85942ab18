"""Checkpoints: each a file of tensors and one that says what they are, and seals both.

Whatever a kill or a failing disk leaves of one is noticed, and the one before it is used.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load, save

from fedretune.paths import writing
from fedretune.wire import Array

#: How many are kept: an unreadable last one costs a step, not the run.
KEPT = 3


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` steps.

    Parameters
    ----------
    step : int
    seconds : float
        Spent on the run until then.
    lengths : Mapping[str, int]
        Bytes of each table of the run folder.
    arrays : dict[str, Array]
    """

    step: int
    seconds: float
    lengths: Mapping[str, int]
    arrays: dict[str, Array]


def write_checkpoint(folder: Path, made: Checkpoint) -> None:
    """Write a checkpoint into `folder`, and remove what is older than the last `KEPT`."""
    tensors = save(made.arrays)
    state = {"step": made.step, "seconds": made.seconds, "lengths": dict(made.lengths)}
    base = folder / f"step-{made.step:05}"
    with writing(base.with_suffix(".safetensors")) as file:
        file.write(tensors)
    # The state comes last: a checkpoint without it does not exist.
    with writing(base.with_suffix(".json")) as file:
        file.write((json.dumps({"state": state, "sha256": _seal(state, tensors)}) + "\n").encode())
    for old in _newest_first(folder)[KEPT:]:
        _remove(old)


def latest(folder: Path, lengths: Mapping[str, int]) -> Checkpoint | None:
    """Return the last sound checkpoint, or None if there is none.

    Parameters
    ----------
    folder : Path
    lengths : Mapping[str, int]
        Bytes that each table has now. A checkpoint of longer tables than there are is of no use.
    """
    for path in _newest_first(folder):
        found = _read(path)
        if found and all(lengths.get(table, 0) >= size for table, size in found.lengths.items()):
            return found
    return None


def drop_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps: those that `latest` would not have."""
    for path in _newest_first(folder):
        if _step(path) > step:
            _remove(path)


def _remove(path: Path) -> None:
    path.unlink()
    path.with_suffix(".safetensors").unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint | None:
    """Return a checkpoint, or None if it is not whole."""
    try:
        told = json.loads(path.read_bytes())
        state, seal = told["state"], told["sha256"]
        tensors = path.with_suffix(".safetensors").read_bytes()
        if seal != _seal(state, tensors):
            return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return Checkpoint(state["step"], state["seconds"], state["lengths"], dict(load(tensors)))


def _seal(state: Mapping[str, Any], tensors: bytes) -> str:
    told = json.dumps(state, sort_keys=True).encode()
    return hashlib.sha256(hashlib.sha256(told).digest() + tensors).hexdigest()


def _newest_first(folder: Path) -> list[Path]:
    """Return the files of state, by the steps in their names, whose digits may be more than 5."""
    named = [path for path in folder.glob("step-*.json") if path.stem[5:].isdecimal()]
    return sorted(named, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.stem[5:])
