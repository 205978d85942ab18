"""What the tables of every study have in common."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from fedretune.paths import writing


def write_tables(folder: Path, frame: pd.DataFrame, lines: Iterable[str]) -> None:
    """Write ``table.csv`` and ``table.md``, each whole or not at all. Raises `OSError`."""
    write_csv(folder / "table.csv", frame)
    with writing(folder / "table.md") as file:
        file.write(("\n".join(lines) + "\n").encode())


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all. Raises `OSError`."""
    with writing(path) as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def markdown(table: pd.DataFrame) -> Iterator[str]:
    """Return a table's lines in GitHub's Markdown."""
    yield f"| {' | '.join(table.columns)} |"
    yield f"| {' | '.join(['---', *['---:'] * (len(table.columns) - 1)])} |"
    for row in table.to_numpy():
        yield f"| {' | '.join(row)} |"
