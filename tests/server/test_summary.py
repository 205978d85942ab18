"""The figures of a finished run, from small tables written by hand."""

import json

import pytest

from scenarios import RunConfig
from server.folder import RunFolder
from server.handshake import Terms
from server.summary import write_summary

FINDINGS = ("NA", "2")  # names that a reader of CSV takes for nothing and for a number


def terms(steps: int, experiences: int) -> Terms:
    return Terms("1", "backbone", "prompts", "adaptor", 8, FINDINGS, steps, experiences)


@pytest.fixture
def summarised(tmp_path):
    """Return a function from evaluations to a summary.

    ``(model, after): [[...], ...]`` has, for each experience, the AUROC of each finding by
    `difference`; None is undefined. `positive` is 0.1 below.
    """

    def run(evaluations, first=None, findings=None):
        folder = RunFolder.create(tmp_path, "run", {})
        for (model, after), values in evaluations.items():
            for e, row in enumerate(values):
                _write(folder, (model, after), e, row)
        for (model, after), row in (findings or {}).items():
            pairs = zip(FINDINGS, row, strict=True)
            folder.rows(
                "findings.csv", [(model, after, f, "difference", 5, 5, v) for f, v in pairs]
            )
        steps = sum(after > -1 for _, after in evaluations)
        about = terms(steps, len(next(iter(evaluations.values()))))
        write_summary(folder, RunConfig(), about, ["a"], first)
        return json.loads((folder.path / "summary.json").read_text())

    return run


def _write(folder, at, experience, row):
    for finding, value in zip(FINDINGS, row, strict=True):
        where = (*at, "pooled", experience, finding)
        low = None if value is None else value - 0.1
        folder.rows("auroc.csv", [(*where, "difference", 5, 5, value)])
        folder.rows("auroc.csv", [(*where, "positive", 5, 5, low)])
        folder.rows("auroc.csv", [(*at, "site", experience, finding, "difference", 5, 5, 0.1)])
        measures = (value, None if value is None else value / 2, 0.25)
        folder.rows("measures.csv", [(*where, "difference", *measures)])
        folder.rows("measures.csv", [(*where, "positive", low, None, None)])


BEFORE = {
    ("zero-shot", -1): [[0.5, 0.5], [0.6, 0.6]],
    ("adapted", -1): [[0.4, 0.5], [0.5, 0.5]],
}
STREAM = {
    **BEFORE,
    ("adapted", 0): [[0.9, 0.7], [0.6, 0.8]],
    ("adapted", 1): [[0.7, 0.7], [0.9, 0.7]],
}


def test_the_figures_of_a_stream(summarised):
    found = summarised(STREAM)
    assert found["zero_shot_auroc"] == pytest.approx(0.55)
    assert found["zero_shot_by_experience"] == pytest.approx([0.5, 0.6])
    assert found["untrained_auroc"] == pytest.approx(0.475)
    assert found["auroc_after_experience"] == [[0.8, 0.7], [0.7, 0.8]]
    assert found["final_auroc"] == pytest.approx(0.75)
    assert found["forgetting"] == pytest.approx(0.8 - 0.7)
    assert found["backward_transfer"] == pytest.approx(0.7 - 0.8)
    assert found["forward_transfer"] == pytest.approx(0.7 - 0.5)


def test_the_other_measures_are_those_at_the_end(summarised):
    found = summarised(STREAM)
    assert found["average_precision"] == pytest.approx(0.75)
    assert found["f1"] == pytest.approx(0.375)
    assert found["ece"] == pytest.approx(0.25)


def test_each_scoring_rule_has_figures_of_its_own(summarised):
    found = summarised(STREAM)["by_scoring"]
    assert found["difference"]["final_auroc"] == pytest.approx(0.75)
    assert found["positive"]["final_auroc"] == pytest.approx(0.65)
    assert found["positive"]["average_precision"] == pytest.approx(0.65)
    assert (found["positive"]["f1"], found["positive"]["ece"]) == (None, None)


def test_an_undefined_finding_is_named_and_left_out_of_the_means(summarised):
    found = summarised({**STREAM, ("adapted", 1): [[0.7, None], [0.9, 0.7]]})
    assert found["undefined_findings"] == {"2": [0]}
    assert found["auroc_after_experience"][1] == [0.7, 0.8]
    assert found["average_precision"] == pytest.approx(0.75)


def test_an_experience_that_is_undefined_everywhere_is_null(summarised):
    found = summarised({at: [rows[0], [None, None]] for at, rows in STREAM.items()})
    assert found["zero_shot_by_experience"] == [0.5, None]
    assert found["auroc_after_experience"] == [[0.8, None], [0.7, None]]
    assert found["final_auroc"] == pytest.approx(0.7)
    assert found["forward_transfer"] is None


def test_one_step_over_several_experiences_has_a_final_figure_and_no_forgetting(summarised):
    found = summarised({**BEFORE, ("adapted", 0): [[0.9, 0.7], [0.6, 0.8]]})
    assert found["final_auroc"] == pytest.approx(0.75)
    assert found["auroc_after_experience"] == [[0.8, 0.7]]
    for name in ("forgetting", "backward_transfer", "forward_transfer"):
        assert found[name] is None


def test_without_training_the_final_figures_are_the_untrained_adaptors(summarised):
    found = summarised(BEFORE)
    assert found["final_auroc"] == found["untrained_auroc"] == pytest.approx(0.475)
    assert found["average_precision"] == pytest.approx(0.475)
    assert found["auroc_after_experience"] == []
    assert found["forgetting"] is None


def test_without_an_adaptor_the_final_figures_are_the_frozen_models(summarised):
    found = summarised({("zero-shot", -1): BEFORE["zero-shot", -1]})
    assert found["final_auroc"] == found["zero_shot_auroc"] == pytest.approx(0.55)
    assert found["average_precision"] == pytest.approx(0.55)
    assert found["untrained_auroc"] is None


def test_without_the_frozen_model_there_is_no_zero_shot_figure(summarised):
    found = summarised({at: rows for at, rows in STREAM.items() if at[0] == "adapted"})
    assert (found["zero_shot_auroc"], found["zero_shot_by_experience"]) == (None, [])
    assert found["final_auroc"] == pytest.approx(0.75)


BY_FINDING = {
    ("zero-shot", -1): [0.5, 0.5],
    ("adapted", -1): [0.5, 0.5],
    ("adapted", 0): [0.9, 0.8],
    ("adapted", 1): [0.6, 0.7],
}


def test_a_finding_is_forgotten_from_the_step_that_first_trains_it(summarised):
    found = summarised(STREAM, {"NA": 0, "2": 1}, BY_FINDING)
    assert found["finding_forgetting"] == pytest.approx(0.3)
    assert found["trained_final_auroc"] == pytest.approx(0.65)


def test_all_findings_are_trained_from_the_first_step_unless_told_otherwise(summarised):
    found = summarised(STREAM, None, BY_FINDING)
    assert found["finding_forgetting"] == pytest.approx((0.3 + 0.1) / 2)


def test_a_finding_that_is_never_trained_is_left_out(summarised):
    found = summarised(STREAM, {"NA": 0}, BY_FINDING)
    assert found["trained_final_auroc"] == pytest.approx(0.6)
