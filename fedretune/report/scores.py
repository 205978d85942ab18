"""What scores are worth: ROC curves, and whether a probability keeps its word."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.evaluation import RULES
from fedretune.metrics.measures import reliability
from fedretune.report.blocks import Column, Data, Figure, Section
from fedretune.report.histograms import Histograms
from fedretune.report.numbers import Numbers
from fedretune.report.plots.lines import REFERENCE, LinePlot, Series
from fedretune.report.plots.marks import Point
from fedretune.report.run import ADAPTED, FROZEN

RULE = RULES.index("difference")
#: By model, what a plot calls it.
NAMES = {ADAPTED: "adapted", FROZEN: "zero-shot"}
DIAGONAL = Series("", [(0.0, 0.0), (1.0, 1.0)], REFERENCE)
UNIT = (0.0, 1.0)


def sections(numbers: Numbers) -> Iterator[Section]:
    """Yield the reliability diagram and the ROC curves, where the run kept its histograms."""
    found = {
        NAMES[model]: numbers.run.histograms[model]
        for model in NAMES
        if model in numbers.run.histograms
    }
    if not found:
        none = "This run kept no histograms: an older version made it, or nothing is evaluated yet."
        yield Section("scores", "ROC curves and reliability", [none])
        return
    yield Section(
        "reliability",
        "Reliability",
        [
            "Of the images that get a probability of about 30%, do 30% have the finding? On the "
            "diagonal they do; below it the model is too sure of a finding, above it not enough. "
            "All findings and sites together. Weights that make up for rare positives "
            "(train.balance) raise probabilities on purpose."
        ],
        [_diagram(found)],
    )
    names = numbers.run.finding_names
    yield Section(
        "roc",
        "ROC curves",
        [
            "From the pooled histograms of all sites, scored by the difference: the share of "
            "images with the finding that are found (up) against the share of the others that "
            "are taken for it (across), at every threshold."
        ],
        [_roc(number, name, found) for number, name in enumerate(names)],
    )


def roc_points(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the points of a ROC curve.

    Parameters
    ----------
    counts : ndarray
        Shape ``[2 (negatives, positives), bins]``, scores increasing with the bin.

    Returns
    -------
    ndarray
        Shape ``[points, 2 (false positive rate, true positive rate)]`` from (0, 0) to (1, 1),
        without those that lie between two others of a straight level; empty where there are no
        positives or no negatives.
    """
    totals = counts.sum(-1)
    if not totals.all():
        return np.empty((0, 2))
    above = np.cumsum(counts[:, ::-1], axis=1) / totals[:, None]
    points = np.concatenate([np.zeros((1, 2)), above.T])
    moved = np.diff(points, axis=0)
    # A point in the middle of a level or upright piece says nothing.
    corner = (moved[:-1] == 0) != (moved[1:] == 0)
    bent = corner.any(axis=1) | (moved[:-1] != 0).all(axis=1)
    points = points[np.concatenate([[True], bent, [True]])]
    apart: NDArray[np.float64] = points[np.concatenate([[True], np.diff(points, axis=0).any(1)])]
    return apart


def _roc(number: int, name: str, found: dict[str, Histograms]) -> Figure:
    curves = {model: roc_points(each.counts[RULE, number]) for model, each in found.items()}
    series = [
        Series(model, _pairs(points), kind) for kind, (model, points) in enumerate(curves.items())
    ]
    rows = [
        (model, float(across), float(up))
        for model, points in curves.items()
        for across, up in points
    ]
    columns = [Column("model"), Column("false positive rate", ".4f")]
    columns += [Column("true positive rate", ".4f")]
    undefined = "" if rows else "There are no positives or no negatives: no curve."
    told = "; ".join(_told(model, points) for model, points in curves.items() if len(points))
    return Figure(
        f"roc-{number + 1}",
        name,
        undefined or f"ROC curves. {told}.",
        LinePlot(
            "false positive rate",
            "true positive rate",
            [*series, DIAGONAL],
            UNIT,
            UNIT,
            markers=False,
        ),
        Data(columns, rows),
        undefined,
    )


def _told(model: str, points: NDArray[np.float64]) -> str:
    """Say how much is found at a false positive rate of 10%, as the curve goes."""
    found = np.interp(0.1, points[:, 0], points[:, 1])
    return f"{model} finds {found:.0%} where 10% of the others are taken for it"


def _diagram(found: dict[str, Histograms]) -> Figure:
    series, rows = [], []
    for kind, (model, each) in enumerate(found.items()):
        images, probability, positives = (
            part.sum(0) for part in reliability(each.counts[RULE], each.edges[RULE], each.scale)
        )
        filled = images > 0
        means, shares = (part[filled] / images[filled] for part in (probability, positives))
        series.append(Series(model, _pairs(np.stack([means, shares], axis=1)), kind))
        parts = zip(means, shares, images[filled], positives[filled], strict=True)
        rows += [(model, float(m), float(s), int(n), int(p)) for m, s, n, p in parts]
    columns = [Column("model"), Column("mean probability", ".3f")]
    columns += [Column("share of positives", ".3f"), Column("labels", ",d")]
    columns += [Column("positive labels", ",d")]
    gaps = {model: _gap([row for row in rows if row[0] == model]) for model in found}
    told = ", ".join(f"{model} {gap:.3f}" for model, gap in gaps.items())
    return Figure(
        "reliability-diagram",
        "Probability against what came true",
        f"The mean gap between both, weighted by labels: {told}.",
        LinePlot("mean probability", "share of positives", [*series, DIAGONAL], UNIT, UNIT),
        Data(columns, rows),
        f"Mean gap (expected calibration error of all labels together): {told}.",
    )


def _gap(rows: list[tuple[str, float, float, int, int]]) -> float:
    labels = sum(row[3] for row in rows)
    return sum(abs(row[1] - row[2]) * row[3] for row in rows) / max(labels, 1)


def _pairs(points: NDArray[np.float64]) -> list[Point]:
    return [(float(x), float(y)) for x, y in points]
