"""What a report is made of: sections of plots and tables, each with its data."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fedretune.report.plots import Plot
from fedretune.report.plots.marks import UNDEFINED

#: More rows than these are not shown as a table behind a plot; its CSV has them all.
SHOWN = 60
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Column:
    """A column: its heading, and the format of its figures; ``""`` for texts."""

    heading: str
    form: str = ""

    def text(self, value: Any) -> str:
        """Return a cell as it is read; a dash where there is no figure."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return UNDEFINED
        return format(value, self.form) if self.form else str(value)


@dataclass(frozen=True)
class Data:
    """Rows under columns: what a plot shows, or a table."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    def csv(self) -> str:
        """Return it as CSV: figures as they are, empty where there is none."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([_safe(column.heading) for column in self.columns])
        writer.writerows([_safe(value) for value in row] for row in self.rows)
        return file.getvalue()


@dataclass(frozen=True)
class Figure:
    """A plot with the data behind it.

    Parameters
    ----------
    slug : str
        Unique in the page: letters, digits and hyphens. Also the name of its files.
    title, alt : str
        What it is, and what it says to somebody who cannot see it.
    """

    slug: str
    title: str
    alt: str
    plot: Plot
    data: Data
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted."""

    slug: str
    title: str
    data: Data
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, what is to be known first, and what belongs to it."""

    slug: str
    heading: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    listings: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Answer:
    """One figure of the first screen: what it is, the figure, and what to hold it against."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Report:
    """A page.

    Parameters
    ----------
    title, subtitle : str
        What was run.
    verdict : str
        The answer in a sentence.
    answers : sequence of Answer
    warnings : sequence of str
        What a reader must know before believing a figure.
    figure : Figure | None
        The plot of the first screen.
    sections : sequence of Section
    """

    title: str
    subtitle: str
    verdict: str
    answers: Sequence[Answer]
    warnings: Sequence[str]
    figure: Figure | None
    sections: Sequence[Section] = field(default_factory=list)


def _safe(value: Any) -> Any:
    """Return a cell that no spreadsheet runs, an undefined one as empty."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return value
