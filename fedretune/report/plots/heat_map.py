"""A table as colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from fedretune.report.plots.marks import (
    CHARACTER,
    RIGHT,
    TOP,
    UNDEFINED,
    WIDTH,
    Point,
    shortened,
    text,
)

#: Height of a row, and the most columns whose cells have their figure inside.
ROW, FEW = 22, 8
#: Below this share of the colours white is easier to read on them than black.
DARK = 0.45


@dataclass(frozen=True)
class HeatMap:
    """A table as colours: `values` ``[rows][columns]``, NaN where there is none."""

    x: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    form: str = ".3f"


def draw_cells(svg: Xml.Element, plot: HeatMap) -> tuple[int, int]:
    """Draw a heat map, at least as wide as a plot of lines; return the width and the height."""
    labels = [shortened(row, 24) for row in plot.rows]
    left = 12 + max(map(len, labels), default=0) * CHARACTER
    few = len(plot.columns) <= FEW
    cell = max((WIDTH - left - RIGHT) / max(len(plot.columns), 1), 40 if few else 16)
    low, high = _extremes(plot.values)
    for number, (label, values) in enumerate(zip(labels, plot.values, strict=True)):
        y = TOP + ROW * number
        text(svg, "text", label, x=left - 6, y=y + 15, anchor="end")
        for column, value in enumerate(values):
            group = Xml.SubElement(svg, "g")
            told = f"{plot.rows[number]}, {plot.columns[column]}: {_figure(value, plot.form)}"
            text(group, "title", told)
            place = (left + column * cell, y)
            share = (value - low) / (high - low) if high > low else 0.5
            _draw_cell(group, place, cell, share)
            if few:
                _draw_figure(group, (place[0] + cell / 2, y + 15), share, value, plot.form)
    bottom = TOP + ROW * len(labels)
    width = round(left + cell * len(plot.columns) + RIGHT)
    every = math.ceil(max(map(len, plot.columns), default=1) * (CHARACTER + 1) / cell)
    for column, name in list(enumerate(plot.columns))[::every]:
        text(svg, "text", name, x=left + (column + 0.5) * cell, y=bottom + 15, anchor="middle")
    text(svg, "text", plot.x, x=(left + width) / 2, y=bottom + 32, anchor="middle")
    return width, bottom + 40


def _draw_cell(group: Xml.Element, place: Point, width: float, share: float) -> None:
    box = {"x": f"{place[0]:.1f}", "y": f"{place[1]:g}", "width": f"{width - 1:.1f}"}
    look = {"class": "none"} if math.isnan(share) else {"fill": _colour(share)}
    Xml.SubElement(group, "rect", {**box, "height": f"{ROW - 1}", **look})


def _draw_figure(group: Xml.Element, place: Point, share: float, value: float, form: str) -> None:
    told = _figure(value, form)
    short = told[1:] if told.startswith("0.") else told
    element = text(group, "text", short, x=place[0], y=place[1], anchor="middle")
    if not math.isnan(share):
        element.set("class", "on-dark" if share < DARK else "on-light")


def _extremes(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    known = [value for row in values for value in row if not math.isnan(value)]
    return (min(known), max(known)) if known else (0.0, 1.0)


#: Points of the map `cividis` (Nunez, Anderton & Renslow, 2018), the same to the colour-blind.
_CIVIDIS = ((0, 34, 78), (65, 77, 107), (124, 123, 120), (188, 175, 111), (254, 232, 56))


def _colour(share: float) -> str:
    position = min(max(share, 0.0), 1.0) * (len(_CIVIDIS) - 1)
    low = min(int(position), len(_CIVIDIS) - 2)
    pair = zip(_CIVIDIS[low], _CIVIDIS[low + 1], strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (position - low)):02x}" for a, b in pair)


def _figure(value: float, form: str) -> str:
    return UNDEFINED if math.isnan(value) else format(value, form)
