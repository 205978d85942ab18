"""Each site: what it has, how well its images do, and what was left out of it."""

import math
from collections import Counter
from typing import Any

from fedretune.report.blocks import Column, Data, Figure, Section, Table
from fedretune.report.numbers import Numbers, figure
from fedretune.report.plots.heat_map import HeatMap

#: More sites than these are in the CSV of a heat map alone.
SHOWN = 40
#: How many reasons for leaving a site's replies out are told.
REASONS = 3
#: What the tables' figures are, or why there are none.
ANNOUNCED = (
    "Images are those that a site announced. Prevalence is the share of positives among its test "
    "labels; AUROC is of its own test images, at the end."
)
SUMMED = (
    "Secure aggregation: the server has learnt sums of what the sites sent, and neither how many "
    "images one of them has nor how well they are scored."
)


def section(numbers: Numbers) -> Section:
    """Return the sites' tables, and what of their findings differs."""
    names = numbers.sites()
    tables = [_table(numbers, names)]
    if len(numbers.left_out):
        tables.append(_left_out(numbers))
    figures = []
    if any(each.positives + each.negatives for each in numbers.run.by_site.cells.values()):
        figures = [_prevalence(numbers, names), _auroc(numbers, names)]
    told = SUMMED if numbers.run.config.get("secure-aggregation") else ANNOUNCED
    return Section("sites", "Sites", [told], figures, tables)


def _table(numbers: Numbers, names: list[str]) -> Table:
    run = numbers.run
    joined = {event["site"]: event for event in run.of("joined")}
    trained = Counter(run.sites.loc[run.sites["status"] == "trained", "site"])
    refused = Counter(numbers.left_out.loc[numbers.left_out["status"] == "refused", "site"])
    left_out = Counter(numbers.left_out["site"])
    sent = run.traffic[run.traffic["direction"] == "up"].groupby("site")["bytes"].sum()
    by_site = run.by_site.macro()
    rows = []
    for name in names:
        images = [_images(joined.get(name, {}), split) for split in ("train", "test")]
        auroc = by_site.get(name, {}).get(numbers.last, math.nan)  # type: ignore[arg-type]
        counts = (trained[name], left_out[name] - refused[name], refused[name])
        rows.append(
            (name, *images, _share(numbers, name), auroc, *counts, int(sent.get(name, 0)) / 1e6)
        )
    columns = [Column("site"), Column("training images", ",d"), Column("test images", ",d")]
    columns += [Column("prevalence", ".1%"), Column("AUROC", ".3f"), Column("rounds trained", "d")]
    columns += [Column("left out", "d"), Column("refused", "d"), Column("MB sent", ",.2f")]
    return Table("sites-table", f"{len(names)} sites", Data(columns, rows))


def _images(event: Any, split: str) -> int | None:
    counts = [each for each in event.get(split, []) if isinstance(each, int)]
    return sum(counts) if counts else None


def _share(numbers: Numbers, name: str) -> float:
    cells = [cell for (site, _), cell in numbers.run.by_site.cells.items() if site == name]
    labels = sum(cell.positives + cell.negatives for cell in cells)
    return sum(cell.positives for cell in cells) / labels if labels else math.nan


def _left_out(numbers: Numbers) -> Table:
    rows = []
    for (site, status), each in numbers.left_out.groupby(["site", "status"]):
        reasons = [str(reason) for reason in each["reason"].value_counts().index[:REASONS]]
        rows.append((str(site), str(status), len(each), "; ".join(filter(None, reasons))))
    columns = [Column("site"), Column("status"), Column("times", "d"), Column("reasons")]
    note = f"The {REASONS} commonest reasons; sites.csv has every time."
    return Table("left-out", "What was left out, and why", Data(columns, rows), note)


def _prevalence(numbers: Numbers, names: list[str]) -> Figure:
    cells = numbers.run.by_site.cells

    def share(site: str, finding: str) -> float:
        cell = cells.get((site, finding))
        labels = cell.positives + cell.negatives if cell else 0
        return cell.positives / labels if cell and labels else math.nan

    return _map(numbers, names, "prevalence", "Prevalence of each finding", share, ".2f")


def _auroc(numbers: Numbers, names: list[str]) -> Figure:
    cells = numbers.run.by_site.cells

    def auroc(site: str, finding: str) -> float:
        return cells[site, finding].auroc if (site, finding) in cells else math.nan

    return _map(numbers, names, "site-auroc", "AUROC of each finding at the end", auroc, ".3f")


def _map(
    numbers: Numbers, names: list[str], slug: str, title: str, value: Any, form: str
) -> Figure:
    """Return a heat map of findings by sites, whichever are fewer across."""
    findings = numbers.run.finding_names
    table = [[value(site, finding) for site in names] for finding in findings]
    known = [each for row in table for each in row if not math.isnan(each)]
    ends = [figure(each, form) for each in (min(known, default=math.nan), max(known, default=0.0))]
    few = names[:SHOWN]
    rows = [(finding, *row) for finding, row in zip(findings, table, strict=True)]
    note = f"The first {SHOWN} of {len(names)} sites; the CSV has all." if few != names else ""
    return Figure(
        slug,
        title,
        f"A heat map of {len(findings)} findings at {len(few)} sites, from {ends[0]} to {ends[1]}.",
        HeatMap("site", findings, few, [row[:SHOWN] for row in table], form),
        Data([Column("finding"), *(Column(name, form) for name in names)], rows),
        note,
    )
