"""What the reports say, and never say."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.backbones.pretrain.reports import (
    MENTIONED,
    UNMENTIONED,
    Facts,
    facts_of,
    vocabulary,
    write_report,
)
from fedretune.data.phantoms import sample_cohort
from fedretune.findings import NIH14
from fedretune.prompts import load_prompts

COHORT = sample_cohort(60, 3, 4, "pretraining")
FACTS = facts_of(COHORT, 4, "pretraining")


@given(row=st.integers(0, len(FACTS) - 1), seed=st.integers(0, 2**32))
@settings(max_examples=300)
def test_no_report_mentions_the_findings_kept_back(row: int, seed: int) -> None:
    words = set(write_report(FACTS[row], np.random.default_rng(seed)).split())
    assert not words & {finding.lower() for finding in UNMENTIONED}


@given(row=st.integers(0, len(FACTS) - 1), seed=st.integers(0, 2**32))
@settings(max_examples=300)
def test_every_word_of_a_report_is_in_the_vocabulary(row: int, seed: int) -> None:
    words = write_report(FACTS[row], np.random.default_rng(seed)).split()
    assert set(words) - set(vocabulary()) == set()


@given(row=st.integers(0, len(FACTS) - 1), seed=st.integers(0, 2**32))
@settings(max_examples=300)
def test_a_report_denies_nothing_that_is_there(row: int, seed: int) -> None:
    present = {finding.lower() for finding in FACTS[row].present}
    for sentence in write_report(FACTS[row], np.random.default_rng(seed)).split(" . "):
        if sentence.startswith(("no ", "there is no ")):
            assert not any(finding in sentence for finding in present)


def test_the_precursors_prompts_are_in_the_vocabulary_for_every_finding() -> None:
    prompts = load_prompts("precursor")
    for finding in NIH14:
        positive, negative = prompts.texts(finding)
        assert set(" ".join([*positive, *negative]).lower().split()) <= set(vocabulary())


def test_a_normal_image_gets_at_least_one_negative_sentence() -> None:
    report = write_report(Facts({}, ()), np.random.default_rng(0))
    assert "no " in report


def test_facts_name_exactly_the_mentioned_findings_present() -> None:
    for facts, (_, row) in zip(FACTS, COHORT.iterrows(), strict=True):
        assert set(facts.present) == {f for f in MENTIONED if row[f]}
