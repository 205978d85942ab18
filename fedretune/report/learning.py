"""What was learnt and what was forgotten: AUROC after each experience, and the matrix."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedretune.report.blocks import Column, Data, Figure, Section
from fedretune.report.numbers import Numbers, figure
from fedretune.report.plots.heat_map import HeatMap
from fedretune.report.plots.lines import KINDS, MANY, REFERENCE, LinePlot, Series
from fedretune.report.plots.marks import Point
from fedretune.report.run import BEFORE, FROZEN

AFTER = "after experience (0: before training)"
#: As many sites have a look of their own; more are thin lines.
FEW_SITES = KINDS - 1


def curve(numbers: Numbers, slug: str = "auroc-pooled") -> Figure | None:
    """Return the plot of the first screen: the pooled AUROC against the frozen model's."""
    points = points_of({each: numbers.mean(each) for each in numbers.evaluations})
    if not numbers.evaluations:
        return None
    series = [Series("all sites pooled", points, 0)]
    series += _reference(numbers, points)
    rows = [(numbers.label(each), numbers.mean(each)) for each in numbers.evaluations]
    told = ", ".join(f"{label} {figure(value)}" for label, value in rows)
    return Figure(
        slug,
        "Pooled macro AUROC",
        f"The mean over findings and experiences: {told}.",
        LinePlot(AFTER, "AUROC", series, ticks=ticks(numbers, points)),
        Data([Column("evaluated"), Column("macro AUROC", ".4f")], rows),
    )


def section(numbers: Numbers) -> Section:
    """Return AUROC after each experience, pooled and by site, the matrix and the loss."""
    figures = [
        each for each in (_by_site(numbers), _matrix(numbers), _loss(numbers)) if each is not None
    ]
    told = (
        "AUROC is how often an image with a finding scores higher than one without it: 0.5 is "
        "chance, 1 is perfect. Pooled figures rank the images of all sites together; a site's own "
        "are of its test images alone. Each is the mean over findings, then over experiences."
    )
    return Section("learning", "After each experience", [told], figures)


def ticks(numbers: Numbers, points: Sequence[Point]) -> list[tuple[float, str]]:
    """Return a label for each point's experience."""
    return [(x, "all at once" if x and numbers.at_once else f"{x:g}") for x, _ in points]


def points_of(values: Mapping[tuple[str, int], float]) -> list[Point]:
    """Return what was measured of the adaptors, by how many experiences they were trained on."""
    adapted = [(after + 1.0, value) for (model, after), value in values.items() if model != FROZEN]
    return adapted or [(0.0, value) for value in values.values()]


def _reference(numbers: Numbers, points: Sequence[Point]) -> list[Series]:
    level = numbers.zero_shot
    if math.isnan(level) or numbers.last == (FROZEN, BEFORE):
        return []
    first, last = points[0][0], points[-1][0]
    return [Series("zero-shot", [(first, level), (last, level)], REFERENCE)]


def _by_site(numbers: Numbers) -> Figure | None:
    by_site = numbers.run.by_site.macro()
    names = [name for name in numbers.sites() if name in by_site]
    if not names:
        return None
    few = len(names) <= FEW_SITES
    pooled = points_of({each: numbers.mean(each) for each in numbers.evaluations})
    series = [Series("pooled", pooled, 0 if not few else KINDS - 1)]
    for number, name in enumerate(names):
        own = {each: by_site[name].get(each, math.nan) for each in numbers.evaluations}
        series.append(Series(name, points_of(own), number if few else MANY))
    series += _reference(numbers, pooled)
    columns = [Column("evaluated"), Column("pooled", ".4f"), *(Column(n, ".4f") for n in names)]
    rows: list[tuple[Any, ...]] = [
        (
            numbers.label(each),
            numbers.mean(each),
            *(by_site[name].get(each, math.nan) for name in names),
        )
        for each in numbers.evaluations
    ]
    ends = [value for value in rows[-1][2:] if not math.isnan(value)]
    told = f" At the end the {len(ends)} sites lie between {min(ends):.3f} and {max(ends):.3f}, "
    told += f"pooled {figure(numbers.final)}."
    return Figure(
        "auroc-by-site",
        "AUROC of each site",
        f"A line for each site and one for all pooled.{told * bool(ends)}",
        LinePlot(AFTER, "AUROC", series, ticks=ticks(numbers, pooled)),
        Data(columns, rows),
        "" if few else f"Thin lines: {len(names)} sites. A site's name shows under the pointer.",
    )


def _matrix(numbers: Numbers) -> Figure | None:
    if not numbers.evaluations:
        return None
    names = [str(int(each) + 1) for each in numbers.table.columns]
    labels = [numbers.label(each) for each in numbers.evaluations]
    values = [[float(value) for value in row] for row in numbers.table.to_numpy()]
    known = [value for row in values for value in row if not math.isnan(value)]
    columns = [Column("evaluated"), *(Column(f"experience {name}", ".4f") for name in names)]
    rows = [(label, *row) for label, row in zip(labels, values, strict=True)]
    return Figure(
        "matrix",
        "Tested on each experience",
        f"A heat map: {len(labels)} evaluations, each tested on {len(names)} experiences' images. "
        "The figures are in the table that follows it.",
        HeatMap("tested on experience", labels, names, values),
        Data(columns, rows),
        f"Rows: what was evaluated. Dark blue is lowest ({figure(min(known, default=math.nan))}), "
        f"yellow highest ({figure(max(known, default=math.nan))}). Forgetting shows as a column "
        "that darkens downwards.",
    )


def _loss(numbers: Numbers) -> Figure | None:
    rounds = {(event["experience"], event["round"]): event for event in numbers.run.of("round")}
    rows = [
        (e + 1, r + 1, float(event["loss"]), event["sites"], event["asked"])
        for (e, r), event in sorted(rounds.items())
    ]
    if not rows:
        return None
    points = [(number + 1.0, row[2]) for number, row in enumerate(rows)]
    columns = [Column("experience", "d"), Column("round", "d"), Column("loss", ".4f")]
    columns += [Column("sites in", "d"), Column("asked", "d")]
    return Figure(
        "loss",
        "Training loss",
        f"The sites' mean loss in each of {len(rows)} rounds: from {rows[0][2]:.3f} to "
        f"{rows[-1][2]:.3f}.",
        LinePlot("round of the run", "loss", [Series("loss", points, 0)], markers=len(rows) <= 40),
        Data(columns, rows),
    )
