"""Each finding: both scoring rules after each experience, and what else was measured of it."""

import math
from typing import Any

from fedretune.report.blocks import Column, Data, Figure, Section, Table
from fedretune.report.learning import AFTER, ticks
from fedretune.report.numbers import DIFFERENCE, POSITIVE, Numbers, figure
from fedretune.report.plots.lines import REFERENCE, LinePlot, Series
from fedretune.report.plots.marks import Point
from fedretune.report.run import BEFORE, FROZEN, Frame

#: With fewer positives an AUROC moves by chance: a standard error of about 0.05.
FEW = 30
MEASURES = ("average_precision", "f1", "ece")


def section(numbers: Numbers) -> Section:
    """Return small multiples of the findings and the table of their figures."""
    rules = {rule: numbers.findings_by(rule) for rule in (DIFFERENCE, POSITIVE)}
    names = list(rules[DIFFERENCE])
    counts = _counts(numbers)
    shared = _range([table for table in rules.values() if len(table)])
    figures = [
        _small(numbers, number, name, rules, counts.get(name, (0, 0))[0], shared)
        for number, name in enumerate(names)
    ]
    told = (
        "Each finding on the test images of all sites and experiences. The rule difference "
        "scores an image by its likeness to the positive prompts less that to the negative ones, "
        "as the method is trained; positive by the former alone, as the authors' earlier code."
    )
    return Section("findings", "Findings", [told], figures, [_table(numbers, rules, counts)])


def _small(
    numbers: Numbers,
    number: int,
    name: str,
    rules: dict[str, Frame],
    positives: int,
    shared: tuple[float, float] | None,
) -> Figure:
    """Return a finding's plot; all have the same axes."""
    lines = {rule: _points(table, name) for rule, table in rules.items()}
    series = [Series(rule, points, kind) for kind, (rule, points) in enumerate(lines.items())]
    level = _at(rules[DIFFERENCE], (FROZEN, BEFORE), name)
    axis = lines[DIFFERENCE]
    if not math.isnan(level) and axis:
        ends = [(axis[0][0], level), (axis[-1][0], level)]
        series.append(Series("zero-shot, difference", ends, REFERENCE))
    rows: list[tuple[Any, ...]] = [
        (numbers.label(each), *(_at(table, each, name) for table in rules.values()))
        for each in numbers.evaluations
    ]
    last = rows[-1] if rows else ("", math.nan, math.nan)
    return Figure(
        f"finding-{number + 1}",
        f"{name}: {positives:,} positives",
        f"At the end {figure(last[1])} by the difference and {figure(last[2])} by the positive "
        f"prompts alone; zero-shot {figure(level)}.",
        LinePlot(AFTER, "AUROC", series, y_range=shared, ticks=ticks(numbers, axis)),
        Data([Column("evaluated"), *(Column(rule, ".4f") for rule in rules)], rows),
    )


def _points(table: Frame, name: str) -> list[Point]:
    if name not in table:
        return []
    points = [
        (after + 1.0, float(value))
        for (model, after), value in table[name].items()
        if model != FROZEN
    ]
    return points or [(0.0, float(value)) for value in table[name]]


def _range(tables: list[Frame]) -> tuple[float, float] | None:
    values = [value for table in tables for value in table.to_numpy().ravel()]
    known = [float(value) for value in values if not math.isnan(value)]
    return (min(0.5, *known) - 0.02, 1.0) if len(known) > 1 else None


def _at(table: Frame, evaluation: tuple[str, int] | None, name: str) -> float:
    if name not in table or evaluation not in table.index:
        return math.nan
    return float(table.loc[evaluation, name])


def _counts(numbers: Numbers) -> dict[str, tuple[int, int]]:
    """Return the positives and negatives of each finding among the test images."""
    rows = numbers.run.findings.drop_duplicates("finding", keep="last")
    columns = (rows["finding"], rows["positives"], rows["negatives"])
    return {str(name): (int(p), int(n)) for name, p, n in zip(*columns, strict=True)}


def _table(numbers: Numbers, rules: dict[str, Frame], counts: dict[str, tuple[int, int]]) -> Table:
    measures = _measures(numbers)
    rows: list[tuple[Any, ...]] = []
    for name in numbers.run.finding_names:
        frozen = _at(rules[DIFFERENCE], (FROZEN, BEFORE), name)
        ends = [_at(table, numbers.last, name) for table in rules.values()]
        others = [measures.get(name, {}).get(each, math.nan) for each in MEASURES]
        known = counts.get(name, (0, 0))
        rows.append((name, *known, frozen, ends[0], ends[0] - frozen, ends[1], *others))
    columns = [Column("finding"), Column("positives", ",d"), Column("negatives", ",d")]
    columns += [Column("zero-shot AUROC", ".3f"), Column("final AUROC", ".3f")]
    columns += [Column("change", "+.3f"), Column("final, positive rule", ".3f")]
    columns += [Column("average precision", ".3f"), Column("F1", ".3f"), Column("ECE", ".3f")]
    few = [row[0] for row in rows if 0 < row[1] < FEW]
    note = "AUROC on all experiences' images; average precision, F1 and expected calibration error "
    note += "(ECE) at the method's own threshold and probability, the mean over experiences."
    if few:
        note += f" Fewer than {FEW} positives, so that figures move by chance: {', '.join(few)}."
    return Table("findings-table", "Findings at the end", Data(columns, rows), note)


def _measures(numbers: Numbers) -> dict[str, dict[str, float]]:
    """Return the other measures of what was evaluated last, by finding."""
    rows = numbers.run.measures
    if numbers.last is None:
        return {}
    model, after = numbers.last
    rows = rows[
        (rows["model"] == model)
        & (rows["after_experience"] == after)
        & (rows["scoring"] == DIFFERENCE)
    ]
    means = rows.groupby("finding")[list(MEASURES)].mean()
    return {str(name): {str(k): float(v) for k, v in row.items()} for name, row in means.iterrows()}
