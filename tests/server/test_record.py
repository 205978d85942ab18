"""What is recorded, against scikit-learn over the scores that were counted."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from fedretune.evaluation import RULES, bin_edges, coarse_histogram, histograms
from fedretune.metrics.measures import calibration_error
from server.folder import TABLES, RunFolder
from server.handshake import Terms
from server.record import record
from server.steps import Step

SITES, EXPERIENCES, SCALE = ("a", "b"), 2, 10.0
FINDINGS = ("Edema", "Hernia")
TERMS = Terms(
    version="1",
    backbone="backbone",
    prompts="prompts",
    adaptor="adaptor",
    dim=8,
    findings=FINDINGS,
    steps=EXPERIENCES,
    experiences=EXPERIENCES,
)


class Images:
    """Scores of both rules, labels and experiences of one site; site b has no Hernia."""

    def __init__(self, site: str) -> None:
        rng = np.random.default_rng(SITES.index(site))
        self.labels = (rng.random((400, 2)) < 0.3).astype(float)
        if site == "b":
            self.labels[:, 1] = 0
        score = 0.1 * (rng.normal(size=(400, 2)) + self.labels)
        self.scores = {"difference": score, "positive": 0.3 - score / 2}
        self.experience = rng.integers(0, EXPERIENCES, 400)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return the tables of a run folder in which one evaluation is recorded, and its images."""
    folder = RunFolder.create(tmp_path_factory.mktemp("runs"), "run", {})
    images = {site: Images(site) for site in SITES}
    coarse = [coarse_histogram(each.scores, each.labels).astype(int) for each in images.values()]
    edges = bin_edges(np.sum(coarse, axis=0))
    counts = {
        site: histograms(each.scores, each.labels, each.experience, edges, EXPERIENCES)
        for site, each in images.items()
    }
    pooled = np.sum([each.astype(int) for each in counts.values()], axis=0)
    record(folder, TERMS, Step("evaluate", 1), iter(counts.items()), edges, SCALE)
    tables = {name: pd.read_csv(folder.path / name) for name in TABLES if name.endswith(".csv")}
    event = json.loads((folder.path / "metrics.jsonl").read_text().splitlines()[-1])
    return tables, event, images, (pooled, edges)


def images_of(images, site, experience, f, rule):
    """Return (scores, labels) of a site or of all, in an experience or in all."""
    chosen = images.values() if site == "pooled" else [images[site]]
    here = [slice(None) if experience is None else each.experience == experience for each in chosen]
    pairs = list(zip(chosen, here, strict=True))
    scores = np.concatenate([each.scores[rule][rows, f] for each, rows in pairs])
    return scores, np.concatenate([each.labels[rows, f] for each, rows in pairs])


KEYS = [
    (site, experience, finding, rule)
    for site in (*SITES, "pooled")
    for experience in range(EXPERIENCES)
    for finding in FINDINGS
    for rule in RULES
]


def test_there_is_a_row_for_each_site_experience_finding_and_rule_in_this_order(recorded):
    for name in ("auroc.csv", "measures.csv"):
        table = recorded[0][name]
        assert (table["model"] == "adapted").all()
        assert (table["after_experience"] == 1).all()
        names = ["site", "experience", "finding", "scoring"]
        assert list(table[names].itertuples(index=False, name=None)) == KEYS


@pytest.mark.parametrize("key", [key for key in KEYS if key[0] == "pooled" or key[2] == "Edema"])
def test_the_figures_are_sklearns_of_the_scores(recorded, key):
    tables, _, images, _ = recorded
    site, experience, finding, rule = key
    score, label = images_of(images, site, experience, FINDINGS.index(finding), rule)
    auroc, measures = (
        tables[name].set_index(["site", "experience", "finding", "scoring"]).loc[key]
        for name in ("auroc.csv", "measures.csv")
    )
    assert (auroc["positives"], auroc["negatives"]) == (label.sum(), (1 - label).sum())
    assert auroc["auroc"] == pytest.approx(roc_auc_score(label, score), abs=0.005)
    expected = average_precision_score(label, score)
    assert measures["average_precision"] == pytest.approx(expected, abs=0.03)
    if rule == "difference":
        assert measures["f1"] == pytest.approx(f1_score(label, score > 0), abs=1e-6)
    else:
        assert measures[["f1", "ece"]].isna().all()


def test_the_calibration_error_is_that_of_the_scaled_difference(recorded):
    tables, _, _, (pooled, edges) = recorded
    found = tables["measures.csv"].query("site == 'pooled' and scoring == 'difference'")
    expected = calibration_error(pooled[0], edges[0], SCALE)
    assert found["ece"].tolist() == pytest.approx(expected.ravel().tolist(), abs=1e-6)


def test_a_finding_without_a_positive_has_a_calibration_error_and_nothing_else(recorded):
    tables = recorded[0]
    where = "site == 'b' and finding == 'Hernia' and scoring == 'difference'"
    assert tables["auroc.csv"].query(where)["auroc"].isna().all()
    found = tables["measures.csv"].query(where)
    assert found[["average_precision", "f1"]].isna().all(axis=None)
    assert found["ece"].notna().all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("finding", FINDINGS)
def test_a_findings_own_row_is_over_all_sites_and_experiences(recorded, finding, rule):
    tables, _, images, _ = recorded
    row = tables["findings.csv"].set_index(["finding", "scoring"]).loc[(finding, rule)]
    score, label = images_of(images, "pooled", None, FINDINGS.index(finding), rule)
    assert (row["model"], row["after_experience"]) == ("adapted", 1)
    assert (row["positives"], row["negatives"]) == (label.sum(), (1 - label).sum())
    assert row["auroc"] == pytest.approx(roc_auc_score(label, score), abs=0.002)


def test_the_event_tells_the_pooled_macro_auroc_of_the_difference(recorded):
    tables, event, _, _ = recorded
    pooled = tables["auroc.csv"].query("site == 'pooled' and scoring == 'difference'")
    expected = pooled.groupby("experience")["auroc"].mean()
    assert (event["event"], event["sites"]) == ("evaluation", 2)
    assert event["auroc"] == pytest.approx(expected.tolist(), abs=1e-6)
    assert event["macro"] == pytest.approx(expected.mean(), abs=1e-6)


def test_an_evaluation_without_any_image_has_empty_figures(tmp_path):
    folder = RunFolder.create(tmp_path, "run", {})
    nothing = np.zeros((2, 2, 2, 2, 100), np.uint16)
    edges = bin_edges(np.zeros((2, 2, 2, 256)))
    record(folder, TERMS, Step("evaluate", -1, model="zero-shot"), [("a", nothing)], edges, 1.0)
    assert pd.read_csv(folder.path / "auroc.csv")["auroc"].isna().all()
    measures = pd.read_csv(folder.path / "measures.csv")
    assert measures[["average_precision", "f1", "ece"]].isna().all(axis=None)
    event = json.loads((folder.path / "metrics.jsonl").read_text())
    assert (event["auroc"], event["macro"]) == ([None, None], None)
