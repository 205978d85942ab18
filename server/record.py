"""What an evaluation leaves in the run folder: every site's figures and those of all pooled."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from fedretune.evaluation import RULES
from fedretune.metrics import auroc, average_precision, macro
from fedretune.metrics.measures import calibration_error, f1
from fedretune.report.histograms import Histograms, write_histograms
from fedretune.wire import Array, ScalarRecords
from scenarios import RunConfig
from server.folder import RunFolder
from server.handshake import Terms
from server.replies import Reply, printable
from server.steps import Step

DIFFERENCE = RULES.index("difference")
#: A status of ``sites.csv``: the site answered, and some small counts are not in its answer.
SUPPRESSED = "suppressed"
#: Another: it answered, and its counts have noise.
NOISED = "noised"
#: Sites whose figures are computed together.
GROUP = 8


def record(
    folder: RunFolder,
    terms: Terms,
    step: Step,
    counts: Iterable[tuple[str, Array]],
    edges: Array,
    scale: float,
) -> None:
    """Write the figures of every site and of all pooled; tell the macro ones.

    A few sites at a time, whose counts are then forgotten: so little memory is needed however
    many they are, and half the time that it takes site by site.

    Parameters
    ----------
    folder : RunFolder
        Its ``auroc.csv``, ``measures.csv`` and ``findings.csv`` get rows. The pooled counts of all
        experiences take the place of those of the model's evaluation before.
    terms : Terms
    step : Step
        Which model was evaluated, after which experience.
    counts : Iterable[tuple[str, Array]]
        Each site with its counts, of shape ``[2 (rule), E, F, 2, bins]``.
    edges : Array
        Of the bins, shape ``[2 (rule), F, bins + 1]``, from `bin_edges`.
    scale : float
        What turns a score of the `difference` rule into a logit; 1 for the zero-shot model.
    """
    pooled: Array = np.zeros((), dtype=np.int64)
    sites, at = 0, (step.model, step.experience)
    for names, group in _groups(counts):
        _write_sites(folder, terms, at, names, group, edges, scale)
        pooled = pooled + group.sum(0)
        sites += len(names)
    record_pooled(folder, terms, step, pooled, sites, edges, scale)


def record_pooled(
    folder: RunFolder,
    terms: Terms,
    step: Step,
    pooled: Array,
    sites: int,
    edges: Array,
    scale: float,
) -> None:
    """Write the figures of all sites pooled, which may be all that is known; tell the macro ones.

    Parameters
    ----------
    folder, terms, step, edges, scale
        As for `record`.
    pooled : int64 array [2 (rule), E, F, 2, bins]
        The sum of the sites' counts.
    sites : int
        How many they are.
    """
    at = (step.model, step.experience)
    areas = _write_sites(folder, terms, at, ["pooled"], pooled[None], edges, scale)
    _write_findings(folder, terms, at, pooled)
    last = Histograms(pooled.sum(1), edges, scale, step.experience)
    write_histograms(folder.path, step.model, last)
    _tell(folder, step, sites, areas[0, DIFFERENCE])


def note_suppressed(folder: RunFolder, site: str, experience: int, reply: Reply) -> None:
    """List what a site's policy did to its counts: cells sent as 0, and noise in all of them."""
    if "suppressed" in reply.scalars:
        most = sum(counts.size for counts in reply.arrays["histogram"].values())
        cells = min(max(int(str(reply.scalars["suppressed"]["cells"])), 0), most)
        folder.site(site, experience, -1, SUPPRESSED, f"{cells} cells of a histogram sent as 0")
    if "noised" in reply.scalars:
        scale = float(str(reply.scalars["noised"]["scale"]))
        folder.site(site, experience, -1, NOISED, f"{scale:g} is the scale of the noise in a cell")


def note_privacy(
    folder: RunFolder, config: RunConfig, site: str, step: Step, scalars: ScalarRecords
) -> None:
    """List what a site says that it has spent in the run, this round included."""
    if told := scalars.get("privacy"):
        privacy = config.privacy
        epsilon, source = float(str(told["epsilon"])), printable(str(told["noise-source"]))
        how = (privacy.delta, privacy.rate, privacy.steps, privacy.clip, privacy.unit)
        where = (site, step.experience, step.round)
        folder.rows("privacy.csv", [(*where, f"{epsilon:.4f}", *how, source)])


def _groups(counts: Iterable[tuple[str, Array]]) -> Iterator[tuple[list[str], Array]]:
    """Give the names and the counts ``[sites, 2, E, F, 2, bins]`` of a few sites at a time."""
    left = iter(counts)
    while group := list(islice(left, GROUP)):
        yield [name for name, _ in group], np.stack([each.astype(np.int64) for _, each in group])


def _write_sites(
    folder: RunFolder,
    terms: Terms,
    at: tuple[object, ...],
    sites: list[str],
    counts: Array,
    edges: Array,
    scale: float,
) -> Array:
    """Write the rows of some sites; return their AUROC."""
    areas = auroc(counts)
    precision = average_precision(counts)
    # What AUROC does not see. A cosine alone is no decision and no probability.
    decision, calibration = np.full((2, *precision.shape), np.nan)
    decision[:, DIFFERENCE] = f1(counts[:, DIFFERENCE], edges[DIFFERENCE])
    calibration[:, DIFFERENCE] = calibration_error(counts[:, DIFFERENCE], edges[DIFFERENCE], scale)
    for i, site in enumerate(sites):
        where = (*at, site)
        _write_auroc(folder, terms, where, counts[i], areas[i])
        _write_measures(folder, terms, where, (precision[i], decision[i], calibration[i]))
    return areas


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
    folder: RunFolder, terms: Terms, where: tuple[object, ...], measures: tuple[Array, ...]
) -> None:
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


def _tell(folder: RunFolder, step: Step, sites: int, areas: Array) -> None:
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
