import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import binary_auroc

from fedretune.metrics import auroc, average_precision, exact_auroc, macro

histograms = arrays(np.uint16, (3, 2, 6), elements=st.integers(0, 40))


def unrolled(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of which `counts` [2, bins] is the histogram: the bins' own numbers."""
    score = np.concatenate([np.repeat(np.arange(len(row)), row) for row in counts])
    return score, np.repeat([0, 1], counts.sum(1, dtype=np.int64))


@given(histograms)
def test_auroc_is_sklearns_of_the_bins_numbers(counts: np.ndarray) -> None:
    for found, each in zip(auroc(counts), counts, strict=True):
        score, label = unrolled(each)
        if 0 < label.sum() < len(label):
            assert found == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        else:
            assert np.isnan(found)


@given(histograms)
def test_average_precision_is_sklearns_of_the_bins_numbers(counts: np.ndarray) -> None:
    for found, each in zip(average_precision(counts), counts, strict=True):
        score, label = unrolled(each)
        if label.sum():
            assert found == pytest.approx(average_precision_score(label, score), abs=1e-12)
        else:
            assert np.isnan(found)


@given(histograms)
def test_swapping_the_classes_mirrors_auroc(counts: np.ndarray) -> None:
    np.testing.assert_allclose(auroc(counts), 1 - auroc(counts[:, ::-1]), atol=1e-12)


def test_leading_axes_are_kept() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (2, 3, 4, 2, 5))
    found = auroc(counts)
    assert found.shape == (2, 3, 4)
    assert found.dtype == np.float64
    assert found[1, 2, 3] == auroc(counts[1, 2, 3])
    assert auroc(counts[:0]).shape == (0, 3, 4)


def test_large_counts_lose_no_precision() -> None:
    counts = np.array([[50_000_001, 50_000_000], [50_000_000, 50_000_001]], dtype=np.uint64)
    exact = (50_000_001**2 + 0.5 * 2 * 50_000_000 * 50_000_001) / 100_000_001**2
    assert auroc(counts) == pytest.approx(exact, abs=1e-12)
    assert auroc(counts) > 0.5


def test_perfect_and_useless_scores() -> None:
    assert auroc(np.array([[5, 0], [0, 5]])) == 1.0
    assert auroc(np.array([[0, 5], [5, 0]])) == 0.0
    assert auroc(np.array([[5], [5]])) == 0.5


def test_undefined_is_nan_without_a_warning() -> None:
    counts = np.zeros((3, 2, 4), np.uint16)
    counts[1, 0, 2] = counts[2, 1, 1] = 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(auroc(counts)).all()
        assert np.array_equal(np.isnan(average_precision(counts)), [True, True, False])


def test_macro_leaves_out_what_is_undefined_without_a_warning() -> None:
    values = np.array([[0.5, np.nan, 1.0], [np.nan] * 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_equal(macro(values), [0.75, np.nan])
        np.testing.assert_equal(macro(values, axis=0), [0.5, np.nan, 1.0])
        assert macro(values, axis=(0, 1)) == 0.75


@given(st.integers(0, 10_000), st.sampled_from([1.0, 1e-6, 1e4]))
def test_exact_auroc_is_sklearns_whatever_the_scores_scale(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(60, 2)).round(1) * scale + 3 * scale
    labels = rng.choice([0.0, 1.0, np.nan], size=(60, 2))
    for f, found in enumerate(exact_auroc(scores, labels)):
        known = ~np.isnan(labels[:, f])
        expected = roc_auc_score(labels[known, f], scores[known, f])
        assert found == pytest.approx(expected, abs=1e-6)


def test_exact_auroc_is_torchmetrics_for_probabilities() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random((50, 1)), rng.integers(0, 2, (50, 1)).astype(float)
    expected = binary_auroc(torch.tensor(scores[:, 0]), torch.tensor(labels[:, 0]).long())
    assert exact_auroc(scores, labels)[0] == pytest.approx(float(expected), abs=1e-6)


def test_exact_auroc_of_a_finding_without_both_classes_is_nan() -> None:
    scores = np.arange(6.0).reshape(3, 2)
    assert np.isnan(exact_auroc(scores, np.array([[1.0, 0.0], [1.0, np.nan], [np.nan, 0.0]]))).all()


def test_exact_auroc_of_equal_scores_is_one_half() -> None:
    assert exact_auroc(np.ones((4, 1)), np.array([[0.0], [1.0], [1.0], [0.0]]))[0] == 0.5
