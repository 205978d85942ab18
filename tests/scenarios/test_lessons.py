"""Each experience trains exactly the images and findings that its definition says."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios import SCENARIOS, SCHEDULES, RunConfig
from scenarios.partitions import PARTITIONS
from tests.scenarios.tables import FINDINGS, scenario_of, table_of

EXPERIENCES = 3
#: What the definitions say of the groups Edema | Hernia | Mass.
TRAINED = {
    "class-incremental": [{"Edema"}, {"Hernia"}, {"Mass"}],
    "label-incremental": [{"Edema"}, {"Edema", "Hernia"}, {"Edema", "Hernia", "Mass"}],
    "data-incremental": [{"Edema", "Hernia", "Mass"}] * 3,
}


def digest(images) -> str:
    """Return the SHA-256 of image ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(images)).encode()).hexdigest()


def values_of(name, partition, schedule, asynchrony):
    values = {"scenario": name, "partition": partition, "schedule": schedule, "alpha": 5.0}
    values |= {"asynchrony": asynchrony, "experiences": EXPERIENCES, "join-at": 2}
    return values if name == "data-incremental" else values | {"groups": "Edema; Hernia; Mass"}


@pytest.mark.parametrize("name", list(SCENARIOS))
@pytest.mark.parametrize("partition", list(PARTITIONS))
@pytest.mark.parametrize(
    ("schedule", "asynchrony"),
    [*((name, "order") for name in SCHEDULES), ("asynchronous", "pace")],
)
def test_each_step_trains_exactly_the_images_and_findings_of_the_definition(
    name, partition, schedule, asynchrony
):
    table, values = table_of(150, sites=4), values_of(name, partition, schedule, asynchrony)
    scenario, config = scenario_of(table, 4, **values), RunConfig.from_flat(values)
    schedules = SCHEDULES[schedule](config, 4, EXPERIENCES, len(FINDINGS))
    names, position = PARTITIONS[partition](table, FINDINGS, 4, config)
    where = table.assign(at=np.array(names)[position], experience=scenario.experience)
    train = where[where["split"] == "train"]
    assert scenario.sites == tuple(names)
    for site, plan, labels in zip(names, schedules.plan, schedules.labelled, strict=True):
        for step, experiences in enumerate(plan):
            lesson = scenario.lesson(site, step)
            told = {finding for finding, known in zip(FINDINGS, labels, strict=True) if known}
            teaching = [e for e in experiences if TRAINED[name][e] & told]
            here = train[(train["at"] == site) & train["experience"].isin(teaching)]
            assert digest(table["image"].iloc[lesson.rows]) == digest(here["image"])
            for column, finding in enumerate(FINDINGS):
                reported = here if labels[column] else here[:0]
                taught = [e for e in experiences if finding in TRAINED[name][e]]
                trained = reported[reported["experience"].isin(taught)]
                found = table["image"].iloc[lesson.rows[lesson.trains[:, column]]]
                assert digest(found) == digest(trained["image"])
                known = table["image"].iloc[lesson.rows[lesson.labelled[:, column]]]
                assert digest(known) == digest(reported["image"])


@given(
    name=st.sampled_from(list(SCENARIOS)),
    partition=st.sampled_from(list(PARTITIONS)),
    schedule=st.sampled_from(["synchronous", "asynchronous"]),
    seed=st.integers(0, 20),
)
@settings(max_examples=40)
def test_lessons_of_whole_streams_are_disjoint_and_cover_the_training_images(
    name, partition, schedule, seed
):
    table = table_of(150, seed, sites=3)
    values = values_of(name, partition, schedule, "order")
    scenario = scenario_of(table, 3, **(values | {"seed": seed, "alpha": 20.0}))
    rows = np.concatenate(
        [scenario.lesson(site, step).rows for site in scenario.sites for step in range(EXPERIENCES)]
    )
    assert sorted(rows.tolist()) == np.flatnonzero(table["split"] == "train").tolist()


@given(seed=st.integers(0, 20))
@settings(max_examples=10)
def test_what_a_late_site_gathered_before_it_joined_is_never_trained(seed):
    table = table_of(150, seed, sites=3)
    values = values_of("data-incremental", "natural", "late-join", "order")
    scenario = scenario_of(table, **(values | {"seed": seed, "join-at": 3}))
    late = [site for site in scenario.sites if not len(scenario.lesson(site, 0).rows)]
    assert 0 < len(late) < 3
    for site in late:
        rows = np.concatenate([scenario.lesson(site, step).rows for step in range(3)])
        assert set(scenario.experience[rows].tolist()) == {2}
        assert len(scenario.shard(site, 0, "train"))


def test_a_lessons_rows_ascend_and_its_masks_have_a_row_each():
    scenario = scenario_of(table_of(90), schedule="partial-labels", experiences=3)
    lesson = scenario.lesson("hospital 1", 2)
    assert (np.diff(lesson.rows) > 0).all()
    assert lesson.trains.shape == lesson.labelled.shape == (len(lesson.rows), len(FINDINGS))
    assert lesson.trains.dtype == lesson.labelled.dtype == np.bool_
