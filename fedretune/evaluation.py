"""Scores as counts that add up over sites: what evaluation sends instead of scores.

Two stages, since a backbone's scores may fill [-1, 1] or lie within 0.01 of each other:

1. `coarse_histogram` counts each site's scores on a fixed grid. The server adds the sites' up, and
   `bin_edges` puts `BINS` bins where they are needed, for each finding and scoring rule.
2. `histograms` counts the scores between those edges, by experience. Cumulative sums of the
   counts, added up over sites, are the ROC curve of all sites' images (`fedretune.metrics`).

Binning loses only the order of a positive and a negative in the same bin, which AUROC then counts
as one half. For smooth densities the expected loss is of second order in the bins' width: within
a narrow bin both orders are equally likely. What remains is chance, and `bin_edges` minimises it.
It needs positives and negatives apart for that: with six positives among 200 images, bins of equal
counts, the obvious choice, are off by more than 0.002 in 12 to 22% of cases.

How far off these are, in 16,000 drawn federations (200 to 3,000 images, 1 to 50% positive, scores
0.01 to 0.15 wide, sites in different places and up to ten times wider than others, heavy tails,
ties): for `difference` by 0.0013 at worst. For `positive` by more than 0.002 in two of them, 0.0028
at worst, with fewer than ten positives and scores that fill only a few coarse cells.
"""

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedretune.errors import UserError

#: The scoring rules, in the order of every histogram's first axis.
RULES = ("difference", "positive")
#: Bins of a histogram: 2 rules, 5 experiences, 14 findings, 2 classes and uint16 make 56 kB.
BINS = 100
#: Cells of the coarse grid. An even number, so that its middle edge is `DECISION`.
COARSE_BINS = 256
#: A difference of cosines lies within +-RANGE.
RANGE = 2.0
#: The method's own decision is score > 0 (cos_pos > cos_neg). Every histogram has an edge here, at
#: the least normal float32 above 0, so that a score of 0, which belongs to no finding, lies below.
DECISION = float(np.finfo(np.float32).tiny)
#: One bin in so many is set aside to part the images evenly, the rest serve AUROC alone.
EVEN_SHARE = 6

Counts = NDArray[np.unsignedinteger[Any]]


def coarse_grid() -> NDArray[np.float64]:
    """Return the edges of the coarse cells for each rule, ``[2, COARSE_BINS + 1]``.

    For `positive`, a cosine, which may crowd anywhere: equal cells over [-1, 1]. For `difference`,
    which crowds around 0, where backbones' ranges differ most: by sinh over [-2, 2], from 0.0023
    wide at 0 to 0.06 at the ends. The middle edge of both is `DECISION`. Scores beyond the grid
    count in its outermost cells.
    """
    bend = 4.0
    even = np.linspace(-1.0, 1.0, COARSE_BINS + 1)
    grid = np.stack([RANGE * np.sinh(bend * even) / np.sinh(bend), even])
    grid[:, COARSE_BINS // 2] = DECISION
    return grid


def coarse_histogram(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> Counts:
    """Count a site's scores on the coarse grid, all experiences together.

    Parameters
    ----------
    scores : Mapping[str, ArrayLike]
        Shape ``[n, F]`` for each of `RULES`. `UserError` if one is not finite.
    labels : ArrayLike
        Shape ``[n, F]``: 1, 0, NaN where not labelled, which is not counted.

    Returns
    -------
    Counts
        Shape ``[2 (rule), F, 2 (negatives, positives), COARSE_BINS]``, in the smallest of uint16,
        uint32 and uint64.
    """
    stacked, labels = _stacked(scores), np.asarray(labels)
    grid = np.repeat(coarse_grid()[:, None], labels.shape[1], axis=1)
    return _count(stacked, labels, np.zeros(len(labels), np.int64), grid, 1)[:, 0]


def bin_edges(coarse: NDArray[Any], bins: int = BINS) -> NDArray[np.float32]:
    """Choose bins that tell positives from negatives best, from coarse counts.

    A bin of p positives and n negatives in random order adds ``p n (p + n + 1) / 12`` to the
    variance of the Mann-Whitney statistic that AUROC is a multiple of. So the bin where that is
    largest is cut, again and again: between two coarse cells where that leaves least, and a
    single cell into equal parts, as nothing is known of its inside.

    Two needs come first. F1 wants an edge at `DECISION`. The calibration error takes a bin's images
    at its middle, so none may hold too many: one bin in `EVEN_SHARE` parts the images evenly, as
    far as the coarse cells allow.

    Parameters
    ----------
    coarse : ndarray
        Shape ``[2, F, 2, COARSE_BINS]``: the sum of the sites' coarse histograms.
    bins : int (default: BINS)
        2 or more.

    Returns
    -------
    ndarray
        Shape ``[2, F, bins + 1]``, float32, strictly increasing from -2 to 2, `DECISION` among
        them.
    """
    rows = [
        [_edges(finding.astype(np.float64), grid, bins) for finding in rule]
        for rule, grid in zip(coarse, coarse_grid(), strict=True)
    ]
    return np.array(rows, dtype=np.float32)


def histograms(
    scores: Mapping[str, ArrayLike],
    labels: ArrayLike,
    experience: ArrayLike,
    edges: NDArray[np.float32],
    experiences: int,
) -> Counts:
    """Count a site's scores between `edges`.

    Parameters
    ----------
    scores, labels
        As for `coarse_histogram`.
    experience : ArrayLike
        Shape ``[n]``, whole numbers below `experiences`: the one that each image belongs to.
    edges : ndarray
        Shape ``[2, F, bins + 1]`` from `bin_edges`. A bin holds its lower edge, and the last one
        its upper edge too. `UserError` unless they increase.
    experiences : int

    Returns
    -------
    Counts
        Shape ``[2 (rule), experiences, F, 2 (negatives, positives), bins]``, in the smallest of
        uint16, uint32 and uint64.
    """
    stacked, labels = _stacked(scores), np.asarray(labels)
    edges = np.asarray(edges, dtype=np.float32)
    if edges.shape[:2] != (len(RULES), labels.shape[1]) or not (np.diff(edges) > 0).all():
        raise UserError(
            f"The edges of the histograms, of shape {edges.shape}, do not increase for each of "
            f"{len(RULES)} scoring rules and {labels.shape[1]} findings.",
            public="refused; the edges of the histograms are not sound",
        )
    return _count(stacked, labels, np.asarray(experience), edges, experiences)


def _stacked(scores: Mapping[str, ArrayLike]) -> NDArray[np.float32]:
    """Return the scores as ``[2, F, n]``, checked."""
    stacked = np.stack([np.asarray(scores[rule], dtype=np.float32).T for rule in RULES])
    if lost := int((~np.isfinite(stacked)).sum()):
        raise UserError(
            f"{lost} of {stacked.size} scores are not finite: training diverged. Lower lr.",
            public="refused; scores are not finite",
        )
    return stacked


def _count(
    scores: NDArray[np.float32],
    labels: NDArray[Any],
    experience: NDArray[np.integer[Any]],
    edges: NDArray[np.floating[Any]],
    experiences: int,
) -> Counts:
    """Count ``scores [2, F, n]`` as ``[2, experiences, F, 2, bins]``, a `bincount` a row."""
    rules, findings, _ = scores.shape
    bins = edges.shape[2] - 1
    counts = np.empty((rules, findings, experiences, 2, bins), dtype=np.int64)
    for f in range(findings):
        known = ~np.isnan(labels[:, f])
        group = (experience[known] * 2 + (labels[known, f] > 0.5)) * bins
        for r in range(rules):
            inner = edges[r, f, 1:-1]
            place = group + np.searchsorted(inner, scores[r, f, known], side="right")
            counts[r, f] = np.bincount(place, minlength=experiences * 2 * bins).reshape(
                experiences, 2, bins
            )
    return _smallest(counts.swapaxes(1, 2))


def _smallest(counts: NDArray[np.int64]) -> Counts:
    most = int(counts.max(initial=0))
    kinds = (np.uint16, np.uint32, np.uint64)
    dtype = next(kind for kind in kinds if most <= np.iinfo(kind).max)
    return np.ascontiguousarray(counts, dtype=dtype)


def _edges(
    counts: NDArray[np.float64], grid: NDArray[np.float64], bins: int
) -> NDArray[np.float64]:
    """Return the edges of one finding and rule, from its ``[2, COARSE_BINS]`` counts."""
    occupied: NDArray[np.bool_] = counts.sum(0) > 0
    # As if there were scores on both sides of it, so that it is an edge wherever they lie.
    occupied[COARSE_BINS // 2 - 1 : COARSE_BINS // 2 + 1] = True
    cells = np.flatnonzero(occupied)
    sums = np.concatenate([np.zeros((2, 1)), counts[:, cells].cumsum(1)], axis=1)
    starts = _starts(sums.sum(0), int(np.searchsorted(cells, COARSE_BINS // 2)), bins)
    inner: list[float] = []
    for low, high, parts in _cuts(sums, starts, bins):
        left, right = grid[cells[low]], grid[cells[high - 1] + 1]
        # An empty gap before the cells goes to the bin on its left: nothing is in it.
        inner += [left + (right - left) * part / parts for part in range(parts)]
    return np.array([-RANGE, *inner[1:], RANGE])


def _starts(images: NDArray[np.float64], middle: int, bins: int) -> list[int]:
    """Return where the first runs of cells start: 0, the middle, and even shares of the images.

    `images` is how many lie before each cell, ``[cells + 1]``, and in the end how many there are.
    """
    shares = bins // EVEN_SHARE
    even = np.searchsorted(images, images[-1] * np.arange(1, shares) / shares)
    starts = np.unique([0, middle, *even])
    return [int(start) for start in starts if start < len(images) - 1]


def _cuts(sums: NDArray[np.float64], starts: list[int], bins: int) -> list[tuple[int, int, int]]:
    """Cut the runs that begin at `starts` into (first, past the last, parts), `bins` in all.

    `sums` are cumulative counts ``[2, cells + 1]``. Only a run of one cell has several parts.
    """

    def entry(low: int, high: int, parts: int) -> tuple[float, int, int, int]:
        return -float(_ties(*((sums[:, high] - sums[:, low]) / parts))), low, high, parts

    ends = [*starts[1:], sums.shape[1] - 1]
    heap = [entry(low, high, 1) for low, high in zip(starts, ends, strict=True)]
    heapq.heapify(heap)
    for _ in range(bins - len(heap)):
        _, low, high, parts = heapq.heappop(heap)
        if high - low == 1:
            heapq.heappush(heap, entry(low, high, parts + 1))
            continue
        between = sums[:, low + 1 : high]
        left, right = between - sums[:, [low]], sums[:, [high]] - between
        cut = low + 1 + int(np.argmin(_ties(*left) + _ties(*right)))
        heapq.heappush(heap, entry(low, cut, 1))
        heapq.heappush(heap, entry(cut, high, 1))
    return sorted((low, high, parts) for _, low, high, parts in heap)


def _ties(negatives: Any, positives: Any) -> Any:
    """Return 12 times the variance that an undecided bin adds to the Mann-Whitney statistic."""
    return negatives * positives * (negatives + positives + 1.0)
