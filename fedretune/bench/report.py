"""A bench for people and for machines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedretune.bench.frame import Measured, Result
from fedretune.errors import UserError
from fedretune.paths import writing

if TYPE_CHECKING:
    from rich.table import Table

#: Of ``bench.json``; a reader that knows another one should not guess.
SCHEMA = 1


def to_json(
    results: Sequence[Result], machine: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of ``bench.json``; every sample is in it, so that others can judge."""
    return {
        "schema": SCHEMA,
        "machine": dict(machine),
        "settings": dict(settings),
        "rows": [_row(result) for result in results],
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``bench.json``, whole or not at all. Raises `UserError` if it cannot be written."""
    try:
        with writing(path) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise UserError(f"Cannot write {path} ({error.strerror}): choose another --out.") from error


def table(results: Sequence[Result]) -> "Table":
    """Return a table for people, two lines a row: ours, and what it is held against."""
    from rich.table import Table

    found = Table(title="fedretune bench: medians", title_justify="left", width=80)
    found.add_column("row", no_wrap=True)
    found.add_column("what", ratio=1)
    for column in ("median", "ratio", "peak MiB"):
        found.add_column(column, justify="right", no_wrap=True)
    for result in results:
        ratio = "" if result.ratio is None else f"{result.ratio:.2f} x"
        found.add_row(result.name, *_cells(result.a, result.unit, ratio), end_section=not result.b)
        if result.b:
            found.add_row("", *_cells(result.b, result.unit, ""), end_section=True)
    return found


def _row(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "unit": result.unit,
        "a": _side(result.a),
        "b": _side(result.b) if result.b else None,
        "ratio": None if result.ratio is None else _short(result.ratio),
        "facts": dict(result.facts),
    }


def _side(side: Measured) -> dict[str, Any]:
    return {
        "what": side.what,
        "median": _short(side.median),
        "samples": [_short(value) for value in side.values],
        "peak_mib": None if side.peak_mib is None else round(side.peak_mib, 1),
    }


def _cells(side: Measured, unit: str, ratio: str) -> tuple[str, str, str, str]:
    peak = "" if side.peak_mib is None else f"{side.peak_mib:,.0f}"
    return side.what, f"{side.median:,.3g} {unit}", ratio, peak


def _short(value: float) -> float:
    """Round to six figures, more than any of them is good for."""
    return float(f"{value:.6g}")
