"""Who trains what when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.errors import UserError
from scenarios import SCHEDULES, RunConfig
from tests.scenarios.tables import scenario_of, table_of

COUNTS = {
    "sites": st.integers(2, 12),
    "experiences": st.integers(2, 12),
    "findings": st.integers(1, 20),
    "seed": st.integers(0, 1000),
}


def schedule_of(name, sites, experiences, findings, **values):
    flat = {key.replace("_", "-"): value for key, value in values.items()}
    config = RunConfig.from_flat({"schedule": name, **flat})
    return SCHEDULES[name](config, sites, experiences, findings)


@pytest.mark.parametrize("name", list(SCHEDULES))
@given(**COUNTS)
def test_every_schedule_has_a_step_for_each_experience_and_is_the_same_again(
    name, sites, experiences, findings, seed
):
    counts = (sites, experiences, findings)
    schedule = schedule_of(name, *counts, seed=seed, join_at=2)
    again = schedule_of(name, *counts, seed=seed, join_at=2)
    assert len(schedule.plan) == sites
    assert all(len(plan) == experiences for plan in schedule.plan)
    assert schedule.labelled.shape == (sites, findings)
    assert schedule.labelled.any(axis=1).all()
    assert schedule.plan == again.plan
    assert np.array_equal(schedule.labelled, again.labelled)


@given(**COUNTS)
def test_synchronous_sites_train_the_same_experience_at_every_step(
    sites, experiences, findings, seed
):
    schedule = schedule_of("synchronous", sites, experiences, findings, seed=seed)
    assert schedule.plan == (tuple((step,) for step in range(experiences)),) * sites
    assert schedule.labelled.all()


@given(**COUNTS)
def test_each_site_has_an_order_of_its_own_that_holds_every_experience_once(
    sites, experiences, findings, seed
):
    schedule = schedule_of("asynchronous", sites, experiences, findings, seed=seed)
    for plan in schedule.plan:
        assert sorted(plan) == [(experience,) for experience in range(experiences)]
    assert schedule.labelled.all()


def test_orders_differ_between_sites_and_between_seeds():
    first = schedule_of("asynchronous", 8, 6, 3, seed=1)
    assert len(set(first.plan)) > 4
    assert first.plan != schedule_of("asynchronous", 8, 6, 3, seed=2).plan


def test_a_site_keeps_its_order_when_others_come():
    few, many = (schedule_of("asynchronous", sites, 6, 3) for sites in (3, 9))
    assert many.plan[:3] == few.plan


@given(**COUNTS)
def test_a_pace_never_goes_back_or_skips_and_the_fastest_sees_every_experience(
    sites, experiences, findings, seed
):
    values = {"asynchrony": "pace", "seed": seed}
    schedule = schedule_of("asynchronous", sites, experiences, findings, **values)
    ways = np.array(schedule.plan)[:, :, 0]
    steps = np.diff(ways, axis=1)
    assert (ways[:, 0] == 0).all()
    assert ((steps == 0) | (steps == 1)).all()
    assert ways[:, -1].max() == experiences - 1
    assert (ways[:, -1] >= (experiences - 1) // 2).all()
    assert (ways == np.arange(experiences)).all(axis=1).any()


def test_a_pace_rounds_down_so_a_slower_site_falls_behind_at_the_first_step():
    schedule = schedule_of("asynchronous", 8, 6, 3, asynchrony="pace")
    assert sorted(plan[1] for plan in schedule.plan) == [(0,)] * 7 + [(1,)]


def test_slow_sites_train_an_experience_in_several_steps_and_miss_the_last():
    ways = np.array(schedule_of("asynchronous", 8, 6, 3, asynchrony="pace").plan)[:, :, 0]
    assert (ways[:, -1] < 5).any()
    assert (np.diff(ways, axis=1) == 0).any()


@given(share=st.floats(0.01, 0.99), **COUNTS)
def test_late_sites_are_absent_and_then_in_step(share, sites, experiences, findings, seed):
    join_at = 2 + seed % (experiences - 1)
    values = {"late_sites": share, "join_at": join_at, "seed": seed}
    schedule = schedule_of("late-join", sites, experiences, findings, **values)
    punctual = tuple((step,) for step in range(experiences))
    late = ((),) * (join_at - 1) + punctual[join_at - 1 :]
    assert set(schedule.plan) == {punctual, late}
    assert schedule.plan.count(late) == min(max(round(share * sites), 1), sites - 1)
    assert schedule.labelled.all()


def test_which_sites_are_late_comes_from_the_seed():
    plans = {schedule_of("late-join", 8, 5, 3, seed=seed).plan for seed in range(5)}
    assert len(plans) > 1


@pytest.mark.parametrize(
    ("sites", "values", "words"),
    [
        (1, {}, ["needs 2 sites or more", "has 1", "schedule = synchronous"]),
        (4, {"join_at": 6}, ["join-at is 6", "5 experiences", "Set join-at = 5 or less"]),
    ],
)
def test_late_sites_that_cannot_join_are_refused_with_the_mend(sites, values, words):
    table = table_of(400, sites=sites)
    with pytest.raises(UserError) as error:
        scenario_of(table, schedule="late-join", **values)
    assert [word for word in words if word not in str(error.value)] == []


@given(share=st.floats(0.01, 1), **COUNTS)
def test_each_site_labels_its_share_and_every_finding_is_labelled_where_that_can_be(
    share, sites, experiences, findings, seed
):
    values = {"labelled_share": share, "seed": seed}
    schedule = schedule_of("partial-labels", sites, experiences, findings, **values)
    each = max(1, round(share * findings))
    assert (schedule.labelled.sum(axis=1) == each).all()
    assert schedule.labelled.any(axis=0).sum() == min(findings, sites * each)
    takers = schedule.labelled.sum(axis=0)
    assert takers.max() - takers.min() <= 1
    assert set(schedule.plan) == {tuple((step,) for step in range(experiences))}


def test_the_labelled_findings_differ_between_seeds():
    first, other = (schedule_of("partial-labels", 6, 5, 14, seed=seed) for seed in (1, 2))
    assert not np.array_equal(first.labelled, other.labelled)
