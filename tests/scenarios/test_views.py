"""The references that a stream is measured against go over the same images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.errors import UserError
from scenarios import SCENARIOS, Lesson, Scenario, at_once, pooled
from tests.scenarios.tables import scenario_of, table_of

STREAMS = {"name": st.sampled_from(list(SCENARIOS)), "seed": st.integers(0, 20)}


def stream(name: str, seed: int, schedule: str) -> Scenario:
    values = {"scenario": name, "seed": seed, "schedule": schedule, "experiences": 3}
    return scenario_of(table_of(120, seed, sites=3), join_at=2, **values)


def union(lessons: list[Lesson]) -> Lesson:
    rows = np.concatenate([lesson.rows for lesson in lessons])
    order = np.argsort(rows)
    trains = np.concatenate([lesson.trains for lesson in lessons])
    labelled = np.concatenate([lesson.labelled for lesson in lessons])
    return Lesson(rows[order], trains[order], labelled[order])


def assert_same(lesson: Lesson, other: Lesson) -> None:
    assert np.array_equal(lesson.rows, other.rows)
    assert np.array_equal(lesson.trains, other.trains)
    assert np.array_equal(lesson.labelled, other.labelled)


@given(schedule=st.sampled_from(["synchronous", "asynchronous", "partial-labels"]), **STREAMS)
@settings(max_examples=25)
def test_all_at_once_with_labels_withheld_is_the_union_of_the_stream(name, seed, schedule):
    scenario = stream(name, seed, schedule)
    joint = at_once(scenario, withheld=True)
    assert (joint.steps, joint.experiences) == (1, 3)
    for site in scenario.sites:
        whole = union([scenario.lesson(site, step) for step in range(scenario.steps)])
        assert_same(joint.lesson(site, 0), whole)


@given(schedule=st.sampled_from(["synchronous", "partial-labels", "late-join"]), **STREAMS)
@settings(max_examples=25)
def test_all_at_once_trains_every_finding_that_the_site_labels_on_every_image(name, seed, schedule):
    scenario = stream(name, seed, schedule)
    joint = at_once(scenario, withheld=False)
    assert not joint.withholds
    for site in scenario.sites:
        lesson = joint.lesson(site, 0)
        assert np.array_equal(lesson.rows, scenario.rows(site, "train"))
        assert np.array_equal(lesson.trains, scenario.labelled[lesson.rows])


@given(schedule=st.sampled_from(["synchronous", "partial-labels"]), **STREAMS)
@settings(max_examples=25)
def test_a_pooled_lesson_is_the_union_of_the_sites_lessons(name, seed, schedule):
    scenario = stream(name, seed, schedule)
    central = pooled(scenario)
    assert central.sites == ("central",)
    assert (central.steps, central.experiences) == (scenario.steps, scenario.experiences)
    for step in range(scenario.steps):
        everywhere = union([scenario.lesson(site, step) for site in scenario.sites])
        assert_same(central.lesson("central", step), everywhere)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_views_keep_every_image_in_its_experience(split):
    scenario = stream("class-incremental", 1, "synchronous")
    central, joint = pooled(scenario), at_once(scenario, withheld=False)
    for experience in range(3):
        shards = [scenario.shard(site, experience, split) for site in scenario.sites]
        assert np.array_equal(
            central.shard("central", experience, split), np.sort(np.concatenate(shards))
        )
        for site, shard in zip(scenario.sites, shards, strict=True):
            assert np.array_equal(joint.shard(site, experience, split), shard)


def test_pooling_and_taking_all_at_once_go_in_either_order():
    scenario = stream("data-incremental", 1, "partial-labels")
    one, other = at_once(pooled(scenario), withheld=True), pooled(at_once(scenario, withheld=True))
    assert_same(one.lesson("central", 0), other.lesson("central", 0))
    assert len(one.lesson("central", 0).rows) == (scenario.split == "train").sum()


@pytest.mark.parametrize("schedule", ["asynchronous", "late-join"])
def test_sites_that_each_go_their_own_way_have_no_pooled_stream(schedule):
    with pytest.raises(UserError, match="needs schedule = synchronous or partial-labels"):
        pooled(stream("data-incremental", 1, schedule))


def test_a_view_leaves_the_scenario_as_it_was():
    scenario = stream("class-incremental", 1, "synchronous")
    before = scenario.lesson("hospital 0", 1)
    at_once(scenario, withheld=False).lesson("hospital 0", 0)
    pooled(scenario).lesson("central", 0)
    assert_same(scenario.lesson("hospital 0", 1), before)
