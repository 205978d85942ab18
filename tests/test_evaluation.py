from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score
from torchmetrics.functional.classification import binary_auroc

from fedretune.errors import UserError
from fedretune.evaluation import (
    BINS,
    COARSE_BINS,
    DECISION,
    EVEN_SHARE,
    RULES,
    bin_edges,
    coarse_grid,
    coarse_histogram,
    histograms,
)
from fedretune.metrics import auroc, exact_auroc

EXPERIENCES = 2


class Site:
    """One site's scores, labels and experiences, of one finding."""

    def __init__(self, score: np.ndarray, label: np.ndarray, experience: np.ndarray) -> None:
        self.label, self.experience = label[:, None], experience
        # Into the rules' ranges; the difference crowds around 0, the cosine elsewhere.
        difference, positive = 2 * np.tanh(score / 2), np.tanh(score + 0.4)
        pair = zip(RULES, (difference, positive), strict=True)
        self.scores = {rule: s[:, None].astype(np.float32) for rule, s in pair}


def draw_sites(
    seed: int, sites: int, images: int, prevalence: float, scale: float, shape: str
) -> list[Site]:
    """Draw sites whose scores lie in different places, ten times wider at one than at another."""
    rng = np.random.default_rng(seed)

    def site() -> Site:
        n = max(2, images // sites)
        label = (rng.random(n) < prevalence).astype(float)
        width = scale if shape == "ties" else scale * 10 ** rng.uniform(-0.5, 0.5)
        noise = rng.standard_t(2, n) if shape == "tails" else rng.normal(size=n)
        score = scale * rng.uniform(-2, 2) + width * (noise + label * rng.uniform(-1, 3))
        if shape == "ties":
            score = np.round(score / scale * 3) * scale / 3
        return Site(score, label, rng.integers(0, EXPERIENCES, n))

    return [site() for _ in range(sites)]


def pooled(sites: list[Site]) -> Site:
    """All images at one place, which no federation has."""
    whole = Site(np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    whole.scores = {r: np.concatenate([s.scores[r] for s in sites]) for r in RULES}
    whole.label = np.concatenate([s.label for s in sites])
    whole.experience = np.concatenate([s.experience for s in sites])
    return whole


def counted(sites: list[Site]) -> tuple[np.ndarray, np.ndarray]:
    """Return (edges, the sites' histograms) as a federation would have them."""
    coarse = [coarse_histogram(site.scores, site.label).astype(np.int64) for site in sites]
    edges = bin_edges(np.sum(coarse, axis=0))
    return edges, np.stack(
        [
            histograms(s.scores, s.label, s.experience, edges, EXPERIENCES).astype(np.int64)
            for s in sites
        ]
    )


federations = st.builds(
    draw_sites,
    seed=st.integers(0, 2**32 - 1),
    sites=st.integers(1, 6),
    images=st.integers(200, 3000),
    prevalence=st.floats(0.01, 0.5),
    scale=st.floats(0.03, 0.15),
    shape=st.sampled_from(["normal", "tails", "ties"]),
)


@settings(max_examples=60)
@given(federations)
def test_pooled_auroc_is_within_0002_of_torchmetrics(sites: list[Site]) -> None:
    whole = pooled(sites)
    assume(10 <= whole.label.sum() <= len(whole.label) - 10)
    found = auroc(counted(sites)[1].sum(axis=(0, 2)))[:, 0]
    label = torch.from_numpy(whole.label[:, 0]).long()
    for r, rule in enumerate(RULES):
        unit = torch.from_numpy(whole.scores[rule][:, 0].astype(np.float64) / 4 + 0.5)
        assert abs(found[r] - float(binary_auroc(unit, label))) < 0.002


@pytest.mark.parametrize("label", [0.0, 1.0, np.nan])
def test_a_finding_without_both_classes_is_undefined_in_the_pool(label: float) -> None:
    sites = draw_sites(0, 3, 300, 0.5, 0.1, "normal")
    for site in sites:
        site.label = np.full_like(site.label, label)
    assert np.isnan(auroc(counted(sites)[1].sum(axis=(0, 2)))).all()


@settings(max_examples=20)
@given(federations)
def test_histograms_add_up_over_sites(sites: list[Site]) -> None:
    whole, (edges, counts) = pooled(sites), counted(sites)
    alone = histograms(whole.scores, whole.label, whole.experience, edges, EXPERIENCES)
    assert np.array_equal(counts.sum(0), alone)
    coarse = sum(coarse_histogram(s.scores, s.label).astype(np.int64) for s in sites)
    assert np.array_equal(coarse, coarse_histogram(whole.scores, whole.label))


@settings(max_examples=20)
@given(federations)
def test_edges_increase_and_reach_both_ends(sites: list[Site]) -> None:
    edges, _ = counted(sites)
    assert edges.shape == (2, 1, BINS + 1)
    assert edges.dtype == np.float32
    assert (np.diff(edges) > 0).all()
    assert (edges[..., 0] == -2).all()
    assert (edges[..., -1] == 2).all()
    assert (edges == np.float32(DECISION)).any(-1).all()


@pytest.mark.parametrize("seed", range(3))
def test_pooled_auroc_is_sklearns_and_not_the_mean_of_the_sites(seed: int) -> None:
    sites = draw_sites(seed, 4, 2000, 0.2, 0.1, "normal")
    whole, (_, counts) = pooled(sites), counted(sites)
    found = auroc(counts.sum(axis=(0, 2)))[0, 0]
    expected = roc_auc_score(whole.label[:, 0], whole.scores["difference"][:, 0])
    assert found == pytest.approx(expected, abs=0.002)
    assert abs(auroc(counts.sum(2))[:, 0, 0].mean() - expected) > 0.002


@pytest.mark.parametrize("positives", [1, 2, 5])
def test_few_positives_get_bins_of_their_own(positives: int) -> None:
    rng = np.random.default_rng(positives)
    label = (np.arange(1000) < positives).astype(float)
    site = Site(rng.normal(size=1000) * 0.1, label, np.zeros(1000, np.int64))
    _, counts = counted([site])
    expected = exact_auroc(site.scores["difference"], site.label)[0]
    assert auroc(counts.sum(axis=(0, 2)))[0, 0] == pytest.approx(expected, abs=0.001)


def test_scores_within_a_hundredth_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(2000) < 0.1).astype(float)
    score = 0.005 * (rng.normal(size=2000) + label)
    site = Site(score, label, np.zeros(2000, np.int64))
    _, counts = counted([site])
    expected = exact_auroc(site.scores["difference"], site.label)[0]
    assert auroc(counts.sum(axis=(0, 2)))[0, 0] == pytest.approx(expected, abs=0.002)


def small() -> tuple[Mapping[str, np.ndarray], np.ndarray, np.ndarray]:
    """Four images, two findings; the third image is not labelled for the first."""
    difference = np.array([[-0.5, 0.0], [0.5, 0.1], [1.5, 0.2], [-1.5, 0.3]])
    labels = np.array([[0, 1], [1, 0], [np.nan, 0], [0, 1]])
    return {"difference": difference, "positive": difference / 2}, labels, np.array([0, 1, 1, 1])


def even_edges(findings: int, bins: int) -> np.ndarray:
    return np.tile(np.linspace(-2, 2, bins + 1, dtype=np.float32), (2, findings, 1))


def test_counts_go_where_they_belong() -> None:
    counts = histograms(*small(), even_edges(2, 4), 2)
    assert counts.shape == (2, 2, 2, 2, 4)
    first_finding = counts[0, :, 0]
    assert first_finding[0].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    assert first_finding[1].tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert counts[1, 1, 1].tolist() == [[0, 0, 2, 0], [0, 0, 1, 0]]


def test_a_bin_holds_its_lower_edge_and_the_last_one_its_upper_too() -> None:
    score = np.array([[-2.0], [-1.0], [0.0], [2.0]])
    scores = dict.fromkeys(RULES, score)
    counts = histograms(scores, np.zeros((4, 1)), np.zeros(4, int), even_edges(1, 4), 1)
    assert counts[0, 0, 0, 0].tolist() == [1, 1, 1, 1]


def test_only_labelled_images_are_counted() -> None:
    scores, labels, experience = small()
    per_finding = (~np.isnan(labels)).sum(0)
    fine = histograms(scores, labels, experience, even_edges(2, 7), 2)
    assert np.array_equal(fine.sum(axis=(1, 3, 4)), np.stack([per_finding] * 2))
    assert np.array_equal(
        coarse_histogram(scores, labels).sum(axis=(2, 3)), np.stack([per_finding] * 2)
    )


def test_tensors_are_counted_like_arrays() -> None:
    scores, labels, experience = small()
    tensors = {rule: torch.tensor(score) for rule, score in scores.items()}
    found = histograms(tensors, torch.tensor(labels), experience, even_edges(2, 4), 2)
    assert np.array_equal(found, histograms(scores, labels, experience, even_edges(2, 4), 2))


def test_no_images_give_empty_counts_and_edges_all_the_same() -> None:
    none = {rule: np.zeros((0, 3)) for rule in RULES}
    coarse = coarse_histogram(none, np.zeros((0, 3)))
    assert coarse.shape == (2, 3, 2, COARSE_BINS)
    edges = bin_edges(coarse)
    counts = histograms(none, np.zeros((0, 3)), np.zeros(0, int), edges, 2)
    assert counts.shape == (2, 2, 3, 2, BINS)
    assert np.isnan(auroc(counts)).all()


@pytest.mark.parametrize(
    ("count", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)], ids=["fits", "does not"]
)
def test_counts_take_the_smallest_type_that_holds_them(count: int, dtype: type) -> None:
    scores = {rule: np.zeros((count, 1)) for rule in RULES}
    found = coarse_histogram(scores, np.zeros((count, 1)))
    assert found.dtype == dtype
    assert found.max() == count


def test_replies_of_the_default_run_stay_under_64_kib() -> None:
    rng = np.random.default_rng(0)
    scores = {rule: rng.uniform(-1, 1, (300, 14)) for rule in RULES}
    labels = rng.integers(0, 2, (300, 14)).astype(float)
    coarse = coarse_histogram(scores, labels)
    counts = histograms(scores, labels, rng.integers(0, 5, 300), bin_edges(coarse), 5)
    assert coarse.nbytes == 28_672
    assert counts.nbytes == 56_000


def test_the_coarse_grid_parts_at_the_decision_and_spans_what_cosines_can_be() -> None:
    grid = coarse_grid()
    assert (grid[:, COARSE_BINS // 2] == DECISION).all()
    assert grid[:, [0, -1]].tolist() == [[-2, 2], [-1, 1]]
    assert (np.diff(grid) > 0).all()


@given(
    arrays(np.float32, (50, 1), elements=st.floats(-3, 3, width=32)),
    arrays(np.float64, (50, 1), elements=st.sampled_from([0.0, 1.0, np.nan])),
)
def test_an_edge_parts_scores_above_zero_from_the_rest(
    score: np.ndarray, label: np.ndarray
) -> None:
    score[abs(score) < DECISION] = 0  # what is not a normal number counts as 0
    scores = dict.fromkeys(RULES, score)
    edges = bin_edges(coarse_histogram(scores, label))
    counts = histograms(scores, label, np.zeros(50, int), edges, 1)[:, 0, 0]
    above = edges[:, 0, :-1] > 0
    for r in range(len(RULES)):
        positive = [((score > 0) & (label == value)).sum() for value in (0, 1)]
        assert (counts[r] * above[r]).sum(1).tolist() == positive


@pytest.mark.parametrize("bins", [2, 3, 6, 17, 100])
def test_any_number_of_bins_from_two_can_be_asked_for(bins: int) -> None:
    site = draw_sites(0, 1, 500, 0.2, 0.1, "normal")[0]
    edges = bin_edges(coarse_histogram(site.scores, site.label), bins)
    assert edges.shape == (2, 1, bins + 1)
    assert (np.diff(edges) > 0).all()


def test_no_bin_holds_many_more_images_than_its_share() -> None:
    site = draw_sites(0, 1, 3000, 0.01, 0.1, "normal")[0]
    _, counts = counted([site])
    share = 1 / (BINS // EVEN_SHARE)
    cell = 0.05  # of the images, in the fullest cell of the coarse grid
    assert counts.sum(axis=(0, 2, 4))[:, 0].max() / 3000 < share + cell


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(value: float) -> None:
    scores, labels, experience = small()
    scores["difference"][1, 1] = value
    with pytest.raises(UserError, match="1 of 16 scores are not finite"):
        coarse_histogram(scores, labels)
    with pytest.raises(UserError, match="Lower lr"):
        histograms(scores, labels, experience, even_edges(2, 4), 2)


@pytest.mark.parametrize(
    "edges",
    [even_edges(3, 4), even_edges(2, 4)[..., ::-1], even_edges(2, 4) * np.nan, np.zeros((2, 2, 5))],
    ids=["findings", "falling", "nan", "equal"],
)
def test_unsound_edges_from_a_server_are_refused(edges: np.ndarray) -> None:
    with pytest.raises(UserError, match="do not increase") as error:
        histograms(*small(), edges, 2)
    assert "edges" in error.value.public
