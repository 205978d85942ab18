"""Measures of a decision and of its probability, from counts that were added up over sites.

AUROC and average precision need only the order of scores; these need the scores' values, and so
the edges between which they were counted (`fedretune.evaluation.bin_edges`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.evaluation import DECISION

#: Bins of the probability in `calibration_error`; torchmetrics' default.
PROBABILITY_BINS = 15


def f1(counts: NDArray[Any], edges: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return F1 at the method's own threshold, score > 0: 2 TP / (2 TP + FP + FN).

    Exact, since `bin_edges` puts an edge there.

    Parameters
    ----------
    counts : ndarray
        Shape ``[..., F, 2 (negatives, positives), bins]``, whole numbers: `histograms` of the
        `difference` rule, added up over sites or not.
    edges : ndarray
        Shape ``[F, bins + 1]``, from `bin_edges`.

    Returns
    -------
    ndarray
        Shape ``[..., F]``: NaN without a positive. With some, and no score above 0, it is 0.

    Raises
    ------
    ValueError
        A finding has no edge at `DECISION`.
    """
    edges = np.asarray(edges, dtype=np.float32)
    if not (edges == np.float32(DECISION)).any(-1).all():
        raise ValueError("F1 needs edges from bin_edges: each finding's with one at DECISION")
    negatives, positives = _classes(counts)
    chosen = edges[:, :-1] >= np.float32(DECISION)
    found, false = (positives * chosen).sum(-1), (negatives * chosen).sum(-1)
    total = positives.sum(-1)
    return _quotient(2.0 * found, np.where(total > 0, found + false + total, 0))


def calibration_error(
    counts: NDArray[Any], edges: NDArray[np.floating[Any]], scale: float
) -> NDArray[np.float64]:
    """Return the expected calibration error of the probability ``sigmoid(scale * score)``.

    The mean over images of |share of positives - mean probability| in their bin of 15 equally wide
    ones of the probability (Guo et al., 2017, arXiv 1706.04599, for one class): torchmetrics'
    `binary_calibration_error` of scores taken at the middle of the bin that they were counted in.
    It is written here since torchmetrics takes one score at a time, and a run has millions.

    Parameters
    ----------
    counts, edges
        As for `f1`.
    scale : float
        What turns a score into a logit: the adaptor's, 1 for the zero-shot model.

    Returns
    -------
    ndarray
        Shape ``[..., F]``; NaN without an image. How far from that of the exact scores: in 3,000
        drawn findings (200 to 4,000 images, scales 1 to 40) by 0.003 in the mean, by more than
        0.022 in one of 100, by 0.019 at worst where no scores are equal, and by up to 0.06 where
        many equal ones lie beside an edge of the probability's bins.
    """
    negatives, positives = _classes(counts)
    probability, member = _probability_bins(edges, scale)
    images = negatives + positives
    gap = np.einsum("...fb,fbp->...fp", positives - probability * images, member)
    return _quotient(np.abs(gap).sum(-1), images.sum(-1))


def reliability(
    counts: NDArray[Any], edges: NDArray[np.floating[Any]], scale: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return what a reliability diagram shows, and `calibration_error` is the mean gap of.

    Parameters as for `calibration_error`.

    Returns
    -------
    images, probability, positives : ndarray
        Shape ``[..., F, PROBABILITY_BINS + 1]`` each, in each bin of the probability: how many
        images, the sum of their probabilities, how many positives. The last bin is for a
        probability of exactly 1.
    """
    negatives, positives = _classes(counts)
    probability, member = _probability_bins(edges, scale)
    images = negatives + positives
    return (
        np.einsum("...fb,fbp->...fp", images, member.astype(np.int64)),
        np.einsum("...fb,fbp->...fp", probability * images, member),
        np.einsum("...fb,fbp->...fp", positives, member.astype(np.int64)),
    )


def _probability_bins(
    edges: NDArray[np.floating[Any]], scale: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each bin's probability ``[F, bins]`` and its bin ``[F, bins, probability bins]``.

    torchmetrics gives a probability of exactly 1 a bin of its own.
    """
    logit = scale * _middles(np.asarray(edges, dtype=np.float64))
    probability = (1 + np.tanh(logit / 2)) / 2  # the sigmoid, without overflow
    place = (probability * PROBABILITY_BINS).astype(int)
    return probability, place[..., None] == np.arange(PROBABILITY_BINS + 1)


def _middles(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a bin's images are taken to lie, ``[F, bins]``.

    The outermost bins reach as far as scores can, far beyond their images: each is taken to be as
    wide as the one beside it.
    """
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    if middles.shape[1] > 2:
        middles[:, 0] = edges[:, 1] - (edges[:, 2] - edges[:, 1]) / 2
        middles[:, -1] = edges[:, -2] + (edges[:, -2] - edges[:, -3]) / 2
    return middles


def _classes(counts: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    counts = np.asarray(counts).astype(np.int64)
    return counts[..., 0, :], counts[..., 1, :]


def _quotient(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """Divide; NaN, without a warning, where there is nothing to divide by."""
    result = np.full(below.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result
