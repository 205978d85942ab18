"""What an evaluation leaves in the run folder: every site's figures and those of all pooled."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fedretune.evaluation import RULES
from fedretune.metrics import auroc, average_precision, macro
from fedretune.metrics.measures import calibration_error, f1
from fedretune.wire import Array
from server.federation import Terms
from server.folder import RunFolder

if TYPE_CHECKING:
    from server.stream import Step

DIFFERENCE = RULES.index("difference")


def record(
    folder: RunFolder,
    terms: Terms,
    step: "Step",
    counts: Mapping[str, Array],
    edges: Array,
    scale: float,
) -> None:
    """Write the figures of every site and of all pooled; tell the macro ones.

    Parameters
    ----------
    folder : RunFolder
        Its ``auroc.csv``, ``measures.csv`` and ``findings.csv`` get rows.
    terms : Terms
    step : Step
        Which model was evaluated, after which experience.
    counts : Mapping[str, Array]
        By site, and last ``pooled``, their sum: shape ``[2 (rule), E, F, 2, bins]``.
    edges : Array
        Of the bins, shape ``[2 (rule), F, bins + 1]``, from `bin_edges`.
    scale : float
        What turns a score of the `difference` rule into a logit; 1 for the zero-shot model.
    """
    at = (step.model, step.experience)
    # Site by site: torchmetrics takes several times the memory of what it is given.
    for site, each in counts.items():
        each = each.astype(np.int64)
        areas = auroc(each)
        _write_auroc(folder, terms, (*at, site), each, areas)
        _write_measures(folder, terms, (*at, site), each, edges, scale)
    # Last came all sites' sum.
    _write_findings(folder, terms, at, each)
    _tell(folder, step, len(counts) - 1, areas[DIFFERENCE])


def _write_auroc(
    folder: RunFolder, terms: Terms, where: tuple[object, ...], counts: Array, areas: Array
) -> None:
    totals = counts.sum(-1)
    folder.rows(
        "auroc.csv",
        (
            (*where, *names, totals[*cell, 1], totals[*cell, 0], _text(areas[cell]))
            for names, cell in _cells(terms)
        ),
    )


def _write_measures(
    folder: RunFolder,
    terms: Terms,
    where: tuple[object, ...],
    counts: Array,
    edges: Array,
    scale: float,
) -> None:
    """Write what AUROC does not see. A cosine alone is no decision and no probability."""
    precision = average_precision(counts)
    decision, calibration = np.full((2, *precision.shape), np.nan)
    decision[DIFFERENCE] = f1(counts[DIFFERENCE], edges[DIFFERENCE])
    calibration[DIFFERENCE] = calibration_error(counts[DIFFERENCE], edges[DIFFERENCE], scale)
    measures = (precision, decision, calibration)
    folder.rows(
        "measures.csv",
        (
            (*where, *names, *(_text(measure[cell]) for measure in measures))
            for names, cell in _cells(terms)
        ),
    )


def _write_findings(
    folder: RunFolder, terms: Terms, where: tuple[object, ...], pooled: Array
) -> None:
    """Write each finding's AUROC on the images of all sites and all experiences."""
    counts = pooled.sum(1)
    areas, totals = auroc(counts), counts.sum(-1)
    folder.rows(
        "findings.csv",
        (
            (*where, finding, rule, totals[r, f, 1], totals[r, f, 0], _text(areas[r, f]))
            for f, finding in enumerate(terms.findings)
            for r, rule in enumerate(RULES)
        ),
    )


def _tell(folder: RunFolder, step: "Step", sites: int, areas: Array) -> None:
    by_experience = macro(areas)
    folder.event(
        "evaluation",
        model=step.model,
        after_experience=step.experience,
        sites=sites,
        auroc=[_json(value) for value in by_experience],
        macro=_json(float(macro(by_experience))),
    )


def _cells(
    terms: Terms,
) -> Iterator[tuple[tuple[int, str, str], tuple[int, int, int]]]:
    """Give (experience, finding, scoring) with its place in ``[rule, experience, finding]``."""
    for experience in range(terms.experiences):
        for f, finding in enumerate(terms.findings):
            for r, rule in enumerate(RULES):
                yield (experience, finding, rule), (r, experience, f)


def _json(value: float) -> float | None:
    """Return a number; JSON has no NaN, so None for it."""
    return None if np.isnan(value) else float(value)


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"
