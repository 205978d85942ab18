"""A study's table on disk, ``table.csv`` and ``table.md``, and on the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedretune.metrics.forgetting import FORMULAS
from fedretune.study.table import (
    COMPACT,
    Statistics,
    frame_of,
    markdown,
    short,
    title_of,
)
from fedretune.study.tables import write_tables

if TYPE_CHECKING:
    from rich.table import Table

NOTES = """\
Each figure is the mean ± the standard deviation (with n - 1) over n seeds; n = 1 has none. AUROC,
average precision, F1 and ECE are the mean over experiences of the pooled macro over findings, at
the end of the run; F1 and ECE are at the method's own threshold and probability. `% of joint` is
of `joint` in the same table and seed. `local` ranks scores of different adaptors together.
Seconds are those of runs that shared the machine with each other."""


@dataclass
class Report:
    """What is told of a study's runs as they end.

    Parameters
    ----------
    folder : Path
        Where the tables go.
    order : sequence of str
        The names of all runs, in the order of the plan.
    changed : mapping
        The keys of the config that are not at their default, the cells' own left out.
    """

    folder: Path
    order: Sequence[str]
    changed: Mapping[str, Any]
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: list[Mapping[str, Mapping[str, Any]]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any], config: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in a finished run: its row, and the tables of its ``config.toml``."""
        self.rows[row["run"]] = row
        if config not in self.tables:
            self.tables.append(config)

    def statistics(self) -> Statistics | None:
        """Return means and standard deviations of the runs so far; None if there is none."""
        return Statistics.of(self._frame()) if self.rows else None

    def write(self) -> None:
        """Write both tables, each whole or not at all."""
        if self.rows:
            frame = self._frame()
            write_tables(self.folder, frame, self._lines(Statistics.of(frame)))

    def _frame(self) -> Any:
        return frame_of([self.rows[name] for name in self.order if name in self.rows])

    def _lines(self, statistics: Statistics) -> list[str]:
        lines = ["# fedretune study retune", "", self._progress(), "", NOTES, ""]
        lines += [markdown(statistics), "## Formulas", "", "```", FORMULAS, "```", ""]
        lines += ["## What was run", "", *(f"- {line}" for line in self._about())]
        return lines

    def _progress(self) -> str:
        done, all_ = len(self.rows), len(self.order)
        return f"{all_} runs." if done == all_ else f"**Unfinished: {done} of {all_} runs.**"

    def _about(self) -> Iterator[str]:
        yield f"date: {date.today().isoformat()}"
        for key in ("manifest", "backbone"):
            yield f"{key}: `{self._values('config', key)}`"
        yield f"backbone's fingerprint: `{self._values('fingerprints', 'backbone')}`"
        yield f"prompts' fingerprint: `{self._values('fingerprints', 'prompts')}`"
        others = (f"`{key} = {value}`" for key, value in self.changed.items())
        yield f"not at their default: {', '.join(others) or 'nothing'}"
        packages = self.tables[0]["versions"]
        versions = (f"{name} {self._values('versions', name)}" for name in packages)
        yield f"versions: {', '.join(versions)}"

    def _values(self, table: str, key: str) -> str:
        """Return what the runs have there: one value, if nothing has changed between them."""
        found = dict.fromkeys(str(each[table][key]) for each in self.tables)
        return " | ".join(found)


def compact(statistics: Statistics) -> "Iterator[Table]":
    """Return tables for a terminal, which fit into 80 characters."""
    from rich import box
    from rich.table import Table

    for where, groups in statistics.tables().items():
        table = Table(title=title_of(*where), title_justify="left", box=box.SIMPLE)
        table.show_edge = table.pad_edge = False  # room for two characters more
        table.add_column("method", no_wrap=True, vertical="bottom")
        for column in COMPACT:
            heading = "\n".join(column.heading.rsplit(" ", 1))
            table.add_column(heading, justify="right", no_wrap=True)
        for group in groups:
            cells = (statistics.cell(group, column) for column in COMPACT)
            table.add_row(group[2], *(short(cell).replace(" ", "") for cell in cells))
        yield table
