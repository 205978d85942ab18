import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score
from torchmetrics.functional.classification import binary_calibration_error

from fedretune.evaluation import DECISION, bin_edges, coarse_histogram, histograms
from fedretune.metrics.measures import calibration_error, f1
from tests.test_evaluation import Site, counted, draw_sites, federations, pooled

#: Edges of four bins; scores above 0 are in the last two.
EDGES = np.array([[-2, -0.2, DECISION, 0.4, 2]], dtype=np.float32)
#: Where `calibration_error` takes their images to lie: the outermost as wide as their neighbours.
MIDDLES = np.array([-0.3, -0.1, 0.2, 0.6])

histogram = arrays(np.uint16, (3, 1, 2, 4), elements=st.integers(0, 30))


def unrolled(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of which `counts` [2, bins] is the histogram: the bins' middles."""
    score = np.concatenate([np.repeat(MIDDLES, row) for row in counts])
    return score, np.repeat([0, 1], counts.sum(1, dtype=np.int64))


def error_of_scores(score: np.ndarray, label: np.ndarray, scale: float) -> float:
    """Return torchmetrics' expected calibration error, in float64."""
    probability = torch.sigmoid(scale * torch.from_numpy(score.astype(np.float64)))
    return float(binary_calibration_error(probability, torch.from_numpy(label).long(), n_bins=15))


@settings(max_examples=60)
@given(federations)
def test_f1_of_pooled_counts_is_exactly_sklearns_of_all_scores(sites: list[Site]) -> None:
    whole, (edges, counts) = pooled(sites), counted(sites)
    assume(whole.label.any())
    found = f1(counts.sum(axis=(0, 2))[0], edges[0])[0]
    expected = f1_score(whole.label[:, 0], whole.scores["difference"][:, 0] > 0, zero_division=0)
    assert found == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60)
@given(federations, st.sampled_from([1.0, 10.0, 40.0]))
def test_calibration_error_of_unequal_scores_is_near_torchmetrics_of_all(
    sites: list[Site], scale: float
) -> None:
    whole, (edges, counts) = pooled(sites), counted(sites)
    assume(len(np.unique(whole.scores["difference"])) > 0.9 * len(whole.label))
    found = calibration_error(counts.sum(axis=(0, 2))[0], edges[0], scale)[0]
    score = whole.scores["difference"][:, 0]
    assert abs(found - error_of_scores(score, whole.label[:, 0], scale)) < 0.05


def test_calibration_error_is_within_0005_in_the_mean_of_many_findings() -> None:
    errors = []
    for seed in range(40):
        sites = draw_sites(seed, 3, 1500, 0.15, 0.1, ("normal", "tails", "ties")[seed % 3])
        whole, (edges, counts) = pooled(sites), counted(sites)
        found = calibration_error(counts.sum(axis=(0, 2))[0], edges[0], 10.0)[0]
        score = whole.scores["difference"][:, 0]
        errors.append(abs(found - error_of_scores(score, whole.label[:, 0], 10.0)))
    assert np.mean(errors) < 0.005


@given(histogram, st.sampled_from([1.0, 3.0, 30.0]))
def test_calibration_error_is_torchmetrics_of_the_bins_middles(
    counts: np.ndarray, scale: float
) -> None:
    for found, each in zip(calibration_error(counts, EDGES, scale)[:, 0], counts, strict=True):
        score, label = unrolled(each[0])
        if len(label):
            assert found == pytest.approx(error_of_scores(score, label, scale), abs=1e-6)
        else:
            assert np.isnan(found)


@given(histogram)
def test_f1_is_sklearns_of_the_bins_middles(counts: np.ndarray) -> None:
    for found, each in zip(f1(counts, EDGES)[:, 0], counts, strict=True):
        score, label = unrolled(each[0])
        if label.any():
            expected = f1_score(label, score > 0, zero_division=0)
            assert found == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(found)


@pytest.mark.parametrize("score", [0.0, -0.0, 1e-30, -1e-30, 0.3, -0.3, 5.0, -5.0])
def test_a_score_of_zero_is_no_positive_and_one_just_above_it_is(score: float) -> None:
    scores = {rule: np.full((4, 1), score) for rule in ("difference", "positive")}
    labels = np.array([[1.0], [1.0], [0.0], [1.0]])
    edges = bin_edges(coarse_histogram(scores, labels))
    counts = histograms(scores, labels, np.zeros(4, int), edges, 1)
    assert f1(counts[0], edges[0])[0, 0] == (2 * 3 / 7 if score > 0 else 0.0)


def test_each_finding_is_judged_by_its_own_edges() -> None:
    counts = np.array([[[4, 0, 0, 2], [0, 0, 1, 3]]] * 2)
    other = np.array([-2, -1, -0.5, DECISION, 2], dtype=np.float32)
    found = f1(counts, np.stack([EDGES[0], other]))
    assert found == pytest.approx([8 / 10, 6 / 9])


def test_leading_axes_are_kept() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (2, 3, 5, 2, 4))
    edges = np.tile(EDGES, (5, 1))
    for found in (f1(counts, edges), calibration_error(counts, edges, 10.0)):
        assert found.shape == (2, 3, 5)
    assert f1(counts, edges)[1, 2, 3] == f1(counts[1, 2, 3:4], edges[3:4])[0]


def test_an_extreme_scale_overflows_nowhere() -> None:
    counts = np.array([[[5, 0, 0, 0], [0, 0, 0, 5]]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert calibration_error(counts, EDGES, 1e9).tolist() == [0.0]
        assert calibration_error(counts[:, ::-1], EDGES, 1e9).tolist() == [1.0]
        assert np.isnan(f1(np.zeros((1, 2, 4)), EDGES)).all()
        assert np.isnan(calibration_error(np.zeros((1, 2, 4)), EDGES, 1.0)).all()


def test_f1_from_edges_that_pass_over_the_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="DECISION"):
        f1(np.zeros((1, 2, 2), int), np.array([[-2, 1, 2]]))
