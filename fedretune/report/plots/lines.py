"""Lines over a common axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as Xml

from fedretune.report.plots.marks import (
    BOTTOM,
    CHARACTER,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Point,
    line,
    shortened,
    text,
)

#: Height of a line of the legend.
LINE = 16
#: How many kinds of line ``plot.css`` has.
KINDS = 6
#: Of a thin line among many, and of one that only helps to read the others.
MANY, REFERENCE = -1, -2
_CLASSES = {MANY: "many", REFERENCE: "reference"}


@dataclass(frozen=True)
class Series:
    """A line of a plot.

    Parameters
    ----------
    name : str
        Of the legend; a line of `MANY` is not in it.
    points : sequence of (x, y)
        NaN interrupts the line.
    kind : int
        0 to `KINDS` - 1, `MANY` or `REFERENCE`: its look.
    spread : sequence of float
        For each point, how far a whisker reaches to both sides; none where it is empty.
    """

    name: str
    points: Sequence[Point]
    kind: int = 0
    spread: Sequence[float] = ()


@dataclass(frozen=True)
class LinePlot:
    """Lines over a common axis.

    Parameters
    ----------
    x, y : str
        What the axes show.
    series : sequence of Series
    x_range, y_range : (low, high) | None (default: None)
        None: as far as the points go.
    ticks : sequence of (x, text)
        Labels of the x axis; empty: round numbers.
    markers : bool (default: True)
        Whether each point has one.
    """

    x: str
    y: str
    series: Sequence[Series]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    ticks: Sequence[tuple[float, str]] = ()
    markers: bool = True


@dataclass
class _Frame:
    """The plotting area: where a point of data is in pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    svg: Xml.Element = field(repr=False)

    def at(self, point: Point) -> Point:
        (x0, x1), (y0, y1) = self.x, self.y
        across = (point[0] - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        up = (point[1] - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return round(LEFT + across, 1), round(HEIGHT - BOTTOM - up, 1)


def draw_lines(svg: Xml.Element, plot: LinePlot) -> tuple[int, int]:
    """Draw the axes, the lines and below them the legend; return the width and the height."""
    frame = _Frame(plot.x_range or _range(plot, 0, 0.0), plot.y_range or _range(plot, 1, 0.08), svg)
    _draw_axes(frame, plot)
    ordered = sorted(plot.series, key=lambda each: each.kind)  # the thin ones below
    for series in ordered:
        _draw_series(frame, series, plot.markers)
    named = [each for each in plot.series if each.kind != MANY and each.name]
    return WIDTH, HEIGHT + _draw_legend(svg, named, plot.markers)


def ticks_of(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from `low` to `high`, no more than `most` steps apart."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step *= next(each for each in (1, 2, 5, 10, 20) if (high - low) / (step * each) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _range(plot: LinePlot, axis: int, margin: float) -> tuple[float, float]:
    """Return how far the points go along an axis, with a share of it at both ends."""
    values = [
        point[axis] + reach
        for series in plot.series
        for number, point in enumerate(series.points)
        for reach in _reaches(series, number, axis)
        if math.isfinite(point[axis])
    ]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high == low:
        low, high = low - abs(low) / 10 - 0.01, high + abs(high) / 10 + 0.01
    return low - margin * (high - low), high + margin * (high - low)


def _reaches(series: Series, number: int, axis: int) -> tuple[float, ...]:
    if axis == 0 or not series.spread or not math.isfinite(series.spread[number]):
        return (0.0,)
    return (-series.spread[number], series.spread[number])


def _draw_axes(frame: _Frame, plot: LinePlot) -> None:
    svg, (x0, x1), (y0, y1) = frame.svg, frame.x, frame.y
    for value, label in _labelled(ticks_of(y0, y1)):
        left, y = frame.at((x0, value))
        line(svg, "grid", (left, y), (WIDTH - RIGHT, y))
        text(svg, "text", label, x=left - 5, y=y + 4, anchor="end")
    ticks = plot.ticks or _labelled(ticks_of(x0, x1))
    for value, label in _thinned(ticks):
        x, bottom = frame.at((value, y0))
        line(svg, "grid", (x, bottom), (x, bottom + 4))
        text(svg, "text", label, x=x, y=bottom + 16, anchor="middle")
    line(svg, "axis", frame.at((x0, y0)), frame.at((x1, y0)))
    text(svg, "text", plot.x, x=(WIDTH + LEFT - RIGHT) / 2, y=HEIGHT - 6, anchor="middle")
    middle = (HEIGHT - BOTTOM + TOP) / 2
    upright = text(svg, "text", plot.y, x=9, y=middle, anchor="middle")
    upright.set("transform", f"rotate(-90 9 {middle})")


def _labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """Label round numbers, each with as many decimals as any of them needs."""
    decimals = max((len(f"{value:.10g}".partition(".")[2]) for value in values), default=0)
    return [(value, f"{value:.{decimals}f}") for value in values]


def _thinned(ticks: Sequence[tuple[float, str]]) -> Sequence[tuple[float, str]]:
    """Leave out labels that would touch each other; the first stays."""
    widest = max((len(label) for _, label in ticks), default=1) * CHARACTER + 8
    fit = max(int((WIDTH - LEFT - RIGHT) / widest), 2)
    return ticks[:: math.ceil(len(ticks) / fit) or 1]


def _draw_series(frame: _Frame, series: Series, markers: bool) -> None:
    group = Xml.SubElement(frame.svg, "g", {"class": _class(series.kind)})
    if series.name:
        text(group, "title", series.name)
    points = [
        frame.at(point) if all(map(math.isfinite, point)) else None for point in series.points
    ]
    commands, pen = [], "M"
    for place in points:
        if place is None:
            pen = "M"
            continue
        commands.append(f"{pen}{place[0]:g} {place[1]:g}")
        pen = "L"
    Xml.SubElement(group, "path", {"d": "".join(commands), "class": "line"})
    for number, point in enumerate(series.points[: len(series.spread)]):
        if math.isfinite(point[1]) and series.spread[number] > 0:
            low, high = (frame.at((point[0], point[1] + s)) for s in _reaches(series, number, 1))
            line(group, "whisker", low, high)
    if series.kind >= 0 and (markers or len(points) == 1):
        for place in points:
            if place is not None:
                _marker(group, series.kind, place)


def _marker(group: Xml.Element, kind: int, place: Point) -> None:
    """Draw a point as a circle, a square, a triangle, a diamond, a cross or a bar."""
    shapes = (
        "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",
        "M-3 -3h6v6h-6z",
        "M0 -4L4 3H-4z",
        "M0 -4L4 0L0 4L-4 0z",
        "M-3 -3L3 3M3 -3L-3 3",
        "M-4 -1.5h8v3h-8z",
    )
    at = f"translate({place[0]:g} {place[1]:g})"
    Xml.SubElement(group, "path", {"d": shapes[kind % KINDS], "transform": at, "class": "marker"})


def _draw_legend(svg: Xml.Element, series: Sequence[Series], markers: bool) -> int:
    """Draw the legend below the plot; return its height."""
    if len(series) < 2:
        return 0
    x, y = float(LEFT), HEIGHT + 8
    for each in series:
        label = shortened(each.name, 44)
        width = 30 + len(label) * CHARACTER + 12
        if x > LEFT and x + width > WIDTH:
            x, y = float(LEFT), y + LINE
        group = Xml.SubElement(svg, "g", {"class": _class(each.kind)})
        Xml.SubElement(group, "path", {"d": f"M{x:g} {y}h22", "class": "line"})
        if markers and each.kind >= 0:
            _marker(group, each.kind, (x + 11, y))
        text(svg, "text", label, x=x + 28, y=y + 4)
        x += width
    return y - HEIGHT + 12


def _class(kind: int) -> str:
    return _CLASSES.get(kind, f"kind-{kind % KINDS}")
