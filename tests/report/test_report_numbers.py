"""The report's figures are those of the run's summary, of torchmetrics and of scikit-learn."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_curve

from fedretune.evaluation import BINS
from fedretune.metrics import auroc
from fedretune.metrics.measures import calibration_error, reliability
from fedretune.report.groups import group
from fedretune.report.numbers import Numbers, natural, size
from fedretune.report.run import read_run
from fedretune.report.scores import roc_points
from tests.report.made_runs import SCALE, counts_of, edges_of, make_run

HISTOGRAM = st.lists(st.integers(0, 5), min_size=6, max_size=6)


@pytest.mark.parametrize("method", ["retune", "zero-shot", "joint"])
def test_the_figures_are_those_of_the_summary(finished, method):
    folder, summary = finished(method=method, experiences=3)
    numbers = Numbers(read_run(folder))
    retention = numbers.retention
    pairs = {
        "final_auroc": numbers.final,
        "zero_shot_auroc": numbers.zero_shot,
        "forgetting": retention.forgetting,
        "backward_transfer": retention.backward_transfer,
        "bytes_up": numbers.bytes_by_direction["up"],
    }
    for name, value in pairs.items():
        expected = math.nan if summary[name] is None else summary[name]
        assert value == pytest.approx(expected, abs=2e-6, nan_ok=True), name


def test_finding_forgetting_of_an_unfinished_run_is_what_the_summary_would_say(synthetic_run):
    folder, summary = synthetic_run(experiences=3)
    (folder / "summary.json").unlink()
    numbers = Numbers(read_run(folder))
    assert numbers.finding_forgetting == pytest.approx(summary["finding_forgetting"], abs=2e-6)


def test_a_sites_macro_auroc_is_the_mean_of_its_rows(finished):
    import pandas as pd

    folder, _ = finished()
    rows = pd.read_csv(folder / "auroc.csv").query("scoring == 'difference' and site == 'site-1'")
    keys = ["model", "after_experience", "experience"]
    expected = rows.groupby(keys)["auroc"].mean().groupby(level=[0, 1]).mean()
    found = read_run(folder).by_site.macro()["site-1"]
    assert found == pytest.approx(expected.to_dict())


@given(HISTOGRAM, HISTOGRAM)
def test_roc_points_are_those_of_scikit_learn(negatives, positives):
    counts = np.array([negatives, positives])
    points = roc_points(counts)
    if not counts.sum(1).all():
        assert not len(points)
        return
    scores = np.concatenate([np.repeat(np.arange(6), row) for row in counts])
    labels = np.repeat([0, 1], counts.sum(1))
    false, true, _ = roc_curve(labels, scores)
    across = np.linspace(0, 1, 50)
    assert (points[0] == 0).all()
    assert (points[-1] == 1).all()
    assert (np.diff(points, axis=0) >= 0).all()
    assert auc(points[:, 0], points[:, 1]) == pytest.approx(auc(false, true))
    assert auc(points[:, 0], points[:, 1]) == pytest.approx(float(auroc(counts)))
    inner = across[~np.isin(across, false)]
    np.testing.assert_allclose(
        np.interp(inner, points[:, 0], points[:, 1]), np.interp(inner, false, true), atol=1e-12
    )


def test_the_gaps_of_the_reliability_diagram_are_the_calibration_error():
    counts = counts_of(1, 1, 3, 8.0)[0, 0]
    edges = edges_of(3)[0]
    images, probability, positives = reliability(counts, edges, SCALE)
    assert (images.sum(-1) == counts.sum((-1, -2))).all()
    assert (positives.sum(-1) == counts[:, 1].sum(-1)).all()
    gaps = np.abs(positives - probability).sum(-1) / images.sum(-1)
    np.testing.assert_allclose(gaps, calibration_error(counts, edges, SCALE))
    filled = images > 0
    assert (
        (probability[filled] / images[filled] >= 0) & (probability[filled] <= images[filled])
    ).all()


def test_what_a_run_keeps_is_what_its_last_auroc_came_from(finished):
    folder, _ = finished()
    run = read_run(folder)
    counts = run.histograms["adapted"].counts
    assert counts.shape[-1] == BINS
    numbers = Numbers(run)
    expected = numbers.findings.loc[numbers.last].to_numpy()
    np.testing.assert_allclose(auroc(counts)[0], expected, atol=1e-6)


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    made = [
        make_run(tmp_path, f"{method}-{seed}", method=method, seed=seed)
        for method in ("retune", "ewc")
        for seed in (1, 2)
    ]
    groups = group([Numbers(read_run(path)) for path in made])
    assert [(each.label, each.seeds()) for each in groups] == [("retune", "1, 2"), ("ewc", "1, 2")]
    finals = [Numbers(read_run(path)).final for path in made[:2]]
    assert groups[0].mean(lambda each: each.final) == pytest.approx(np.mean(finals))
    assert groups[0].deviation(lambda each: each.final) == pytest.approx(np.std(finals, ddof=1))
    assert math.isnan(groups[0].deviation(lambda each: math.nan))


def test_groups_are_named_by_what_is_not_as_in_the_others(tmp_path):
    made = [
        make_run(tmp_path, "a"),
        make_run(tmp_path, "b", method="ewc", scenario="class-incremental"),
        make_run(tmp_path, "c", **{"train.lr": 0.1}),
    ]
    labels = [each.label for each in group([Numbers(read_run(path)) for path in made])]
    assert labels == ["retune", "ewc, class-incremental", "retune, train.lr = 0.1"]


def test_names_are_sorted_as_a_person_does():
    assert natural({"site-10", "site-2", "north", "site-1"}) == [
        "north",
        "site-1",
        "site-2",
        "site-10",
    ]


@given(st.lists(st.text(max_size=6), max_size=6))
def test_any_names_can_be_sorted(names):
    assert sorted(natural(names)) == sorted(names)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e10, "25.0 GB"), (math.nan, "unknown")],
)
def test_sizes_are_told_as_a_person_reads_them(count, text):
    assert size(count) == text


def test_the_summary_is_not_needed_for_a_runs_figures(tmp_path):
    folder = make_run(tmp_path)
    before = Numbers(read_run(folder))
    kept = (before.final, before.retention, before.seconds)
    (folder / "summary.json").unlink()
    after = Numbers(read_run(folder))
    assert (after.final, after.retention) == kept[:2]
    assert (kept[2], after.seconds) == (12.0, 1.0)
    assert json.dumps(after.rounds) == "[2, 2]"
