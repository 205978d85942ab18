"""Reading tables that a run is still writing, or that something has broken: sound lines, counted.

Each line is read by itself: a quotation mark that is never closed costs its line, not the rest.
"""

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd


def name(cell: str) -> str:
    """Return a text of which a table has few, each kept once."""
    if not cell:
        raise ValueError("a name is empty")
    return sys.intern(cell)


def figure(cell: str) -> float:
    """Return a finite number; NaN for an empty cell, which is undefined."""
    value = float(cell) if cell else math.nan
    if math.isinf(value) or (cell and math.isnan(value)):
        raise ValueError(f"{cell} is no figure")
    return value


#: A table's columns, each with what reads its cells; `ValueError` from one that is not sound.
Columns = Mapping[str, Callable[[str], Any]]

MODEL: Columns = {"model": name, "after_experience": int}
CELL: Columns = {"finding": name, "scoring": name}
COUNTS: Columns = {"positives": int, "negatives": int, "auroc": figure}
AUROC: Columns = {**MODEL, "site": name, "experience": int, **CELL, **COUNTS}
FINDINGS: Columns = {**MODEL, **CELL, **COUNTS}
MEASURES: Columns = {
    **MODEL,
    "site": name,
    "experience": int,
    **CELL,
    "average_precision": figure,
    "f1": figure,
    "ece": figure,
}
TRAFFIC: Columns = {
    "experience": int,
    "round": int,
    "site": name,
    "kind": name,
    "direction": name,
    "bytes": int,
}
SITES: Columns = {"site": name, "experience": int, "round": int, "status": name, "reason": str}

#: A row as it stands in the file.
Cells = list[str]


def read_rows(
    path: Path, columns: Columns, broken: Counter[str], keep: Callable[[Cells], bool] | None = None
) -> Iterator[list[Any]]:
    """Yield a CSV table's rows.

    Parameters
    ----------
    path : Path
        Without the file there are no rows.
    columns : Columns
        All of the table's, in order.
    broken : Counter
        Under the file's name it counts the lines that are left out: not sound, or not whole.
    keep : callable (cells) -> bool | None (default: None)
        Which rows are wanted; the others are not read further.
    """
    readers = list(columns.values())
    for line in _lines(path, skip=1):
        cells = _cells(line)
        if cells is None or len(cells) != len(readers):
            broken[path.name] += 1
        elif keep is None or keep(cells):
            try:
                row = [read(cell) for read, cell in zip(readers, cells, strict=True)]
            except ValueError:
                broken[path.name] += 1
            else:
                yield row


def read_table(
    path: Path, columns: Columns, broken: Counter[str], keep: Callable[[Cells], bool] | None = None
) -> pd.DataFrame:
    """Return `read_rows` in a frame."""
    return pd.DataFrame(list(read_rows(path, columns, broken, keep)), columns=list(columns))


#: What an event of a kind that a report reads must tell, and of what type.
NUMBER = (int, float)
EVENTS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "joined": {"site": str, "train": list, "test": list},
    "start": {"experiences": int, "rounds": int, "time": NUMBER},
    "round": {
        "experience": int,
        "round": int,
        "sites": int,
        "asked": int,
        "loss": NUMBER,
        "seconds": NUMBER,
        "time": NUMBER,
    },
    "evaluation": {"time": NUMBER},
}


def read_events(path: Path, broken: Counter[str]) -> list[dict[str, Any]]:
    """Return the events of ``metrics.jsonl``.

    `broken` counts the lines that are left out: no JSON, no event, or one that lacks what `EVENTS`
    says of its kind.
    """
    events = []
    for line in _lines(path, skip=0):
        try:
            event = json.loads(line or "")
        except (ValueError, RecursionError):
            event = None
        if _is_event(event):
            events.append(event)
        else:
            broken[path.name] += 1
    return events


def _is_event(event: Any) -> bool:
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return False
    fields = EVENTS.get(event["event"], {})
    return all(isinstance(event.get(name), kind) for name, kind in fields.items())


def _lines(path: Path, skip: int) -> Iterator[str | None]:
    """Yield a file's lines after the first `skip`; None for a last one that has no end yet."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file):
            if number >= skip:
                yield line.rstrip("\r\n") if line.endswith("\n") else None


def _cells(line: str | None) -> Cells | None:
    if line is None:
        return None
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        return None
