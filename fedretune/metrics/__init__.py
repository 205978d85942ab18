"""AUROC and average precision of counts that were added up over sites.

torchmetrics computes them: cumulative sums of the counts are the state of its binned metrics, a
confusion matrix for every threshold. Light at import: torch is imported by the first call.
"""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric


def auroc(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each histogram.

    Parameters
    ----------
    counts : ndarray
        Shape ``[..., 2 (negatives, positives), bins]``, scores increasing with the bin. Signed or
        unsigned whole numbers; `fedretune.evaluation.histograms`, added up over sites or not.

    Returns
    -------
    ndarray
        Shape ``[...]``: a positive and a negative in one bin count one half. NaN, never 0, without
        a positive or without a negative.
    """
    from torchmetrics.classification import MultilabelAUROC

    negatives, positives = _totals(counts)
    return _computed(MultilabelAUROC, counts, (negatives > 0) & (positives > 0))


def average_precision(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the average precision of each histogram: mean precision over steps of recall.

    Parameters as for `auroc`; NaN without a positive. Coarser than AUROC is: the few highest scores
    decide it, and a bin takes them together. From `bin_edges`' bins, in 3,000 drawn findings of 200
    to 4,000 images, it was off by 0.002 in the mean, 0.021 in one of 100, 0.056 at worst.
    """
    from torchmetrics.classification import MultilabelAveragePrecision

    _, positives = _totals(counts)
    return _computed(MultilabelAveragePrecision, counts, positives > 0)


def exact_auroc(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return the area under the ROC curve of scores that are all at hand, by torchmetrics.

    Parameters
    ----------
    scores : ArrayLike
        Shape ``[n, F]``, finite.
    labels : ArrayLike
        Shape ``[n, F]``: 1, 0, NaN where not labelled.

    Returns
    -------
    ndarray
        Shape ``[F]``: NaN without a positive or without a negative.
    """
    scored, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    columns = zip(scored.T, labels.T, strict=True)
    return np.array([_exact(score, label) for score, label in columns])


def _exact(scores: NDArray[np.float64], labels: NDArray[Any]) -> float:
    import torch
    from torchmetrics.functional.classification import binary_auroc

    known = ~np.isnan(labels)
    positive, scores = labels[known] > 0.5, scores[known]
    if positive.all() or not positive.any():
        return float("nan")
    # Into [0, 1]: torchmetrics would take other scores for logits, and a sigmoid makes ties.
    unit = (scores - scores.min()) / max(float(np.ptp(scores)), np.finfo(np.float64).tiny)
    return float(binary_auroc(torch.from_numpy(unit), torch.from_numpy(positive).long()))


def macro(values: NDArray[np.float64], axis: int | tuple[int, ...] = -1) -> NDArray[np.float64]:
    """Return the mean over `axis` of the defined values; NaN where none is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))


def _totals(counts: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    totals = np.asarray(counts).astype(np.int64).sum(-1)
    return totals[..., 0], totals[..., 1]


def _computed(
    metric: "type[Metric]", counts: NDArray[Any], defined: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Compute a torchmetrics multilabel metric: every histogram is one of its labels."""
    import torch

    shape = counts.shape[:-2]
    state = _confusion(np.asarray(counts).reshape(-1, *counts.shape[-2:]))
    if state.shape[1] == 0:
        return np.full(shape, np.nan)
    # torchmetrics wants two labels or more, and thresholds, of which only the number matters here.
    padded = torch.cat([state, state[:, :1]], dim=1)
    computer: Any = metric(
        num_labels=padded.shape[1],
        average=None,
        thresholds=torch.linspace(0, 1, len(padded)),
    )
    computer.confmat = padded
    with warnings.catch_warnings():  # that `update` was not called: its work is done already
        warnings.filterwarnings("ignore", "The ``compute`` method of metric", UserWarning)
        values = computer.compute().numpy()[:-1]
    return np.where(defined, values.reshape(shape), np.nan)


def _confusion(counts: NDArray[Any]) -> "Tensor":
    """Return the binned state ``[thresholds, L, 2 (truth), 2 (prediction)]`` of ``[L, 2, bins]``.

    One threshold below each bin and one above all, so that the curve has both its ends. float64,
    since torchmetrics would divide whole numbers in float32.
    """
    import torch

    below = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1))
    np.cumsum(counts, axis=-1, out=below[..., 1:], dtype=np.float64)
    both = np.stack([below, below[..., -1:] - below], axis=-1)
    return torch.from_numpy(np.ascontiguousarray(both.transpose(2, 0, 1, 3)))
