"""Which updates are too long to be true, and that nobody else's is."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clients.app
from server.plausible import ALIKE, APART, FEWEST, MAX_LENGTH, Cohort, update_length
from tests.records import arrays_of, change

BOUND, BATCH = 5.0, 64
EXAMPLES = st.integers(1, 5000)


def honest(logarithms):
    """Return updates of these logarithms of length for the steps, on 16 steps' examples."""
    return [(4 * math.exp(each), 16 * BATCH) for each in logarithms]


ALIKES = st.lists(st.floats(-ALIKE, ALIKE), min_size=FEWEST, max_size=40)


@given(ALIKES)
def test_updates_that_are_alike_are_all_plausible(logarithms):
    assert Cohort(BOUND, BATCH).judge(honest(logarithms)) == [""] * len(logarithms)


@given(ALIKES, st.integers(0), st.sampled_from([10.0, 100.0, 1e4]))
def test_one_that_is_scaled_by_10_or_more_is_caught_among_four_or_more(logarithms, at, times):
    updates = honest(logarithms)
    at %= len(updates)
    updates[at] = (times * updates[at][0], updates[at][1])
    found = Cohort(BOUND, BATCH).judge(updates)
    assert "times what is usual" in found[at]
    assert not any(objection for i, objection in enumerate(found) if i != at)


@given(st.lists(EXAMPLES, min_size=FEWEST, max_size=40))
def test_more_steps_may_lead_further(examples):
    updates = [(math.sqrt(math.ceil(each / BATCH)), each) for each in examples]
    assert Cohort(BOUND, BATCH).judge(updates) == [""] * len(updates)


DEVIATIONS = [(0.01, ALIKE), (0.15, 1.4826 * 0.15), (0.19, 1.4826 * 0.19), (0.25, APART)]


@pytest.mark.parametrize(("spread", "divisor"), DEVIATIONS)
def test_the_limit_is_the_median_and_so_many_robust_deviations_of_the_logarithms(spread, divisor):
    # The median is 0, and the deviations are 0 1 1 1 1 2 spreads and that of the last.
    others = [-2 * spread, -spread, -spread, 0.0, spread, spread]
    for last, odd in ((BOUND * divisor - 0.01, False), (BOUND * divisor + 0.01, True)):
        found = Cohort(BOUND, BATCH).judge(honest([*others, last]))
        assert [bool(each) for each in found] == [False] * 6 + [odd]


def test_little_movement_is_no_fault():
    updates = [*honest([0, 0.1, -0.1, 0.05]), (1e-9, 100), (0.0, 100)]
    assert Cohort(BOUND, BATCH).judge(updates) == [""] * 6


@pytest.mark.parametrize("bound", [0.0, BOUND])
@pytest.mark.parametrize("length", [2 * MAX_LENGTH, math.inf, math.nan])
def test_an_impossible_length_is_refused_whatever_the_others_do(bound, length):
    cohort = Cohort(bound, BATCH)
    assert "above all that can be" in cohort.judge([(length, 100)])[0]
    assert cohort.judge(honest([0.0, 0.1, 0.2, 0.0])) == [""] * 4


def test_fewer_than_four_judge_nobody_and_a_bound_of_zero_neither():
    assert Cohort(BOUND, BATCH).judge(honest([0, 0, 9])) == [""] * 3
    assert Cohort(0.0, BATCH).judge(honest([0, 0, 0, 0, 9])) == [""] * 5


def test_a_later_group_is_judged_by_those_before_it_and_only_by_the_sound_ones():
    cohort = Cohort(BOUND, BATCH)
    assert cohort.judge(honest([0.0, 0.1])) == ["", ""]
    assert [bool(each) for each in cohort.judge(honest([0.2, 0.1, 5.0]))] == [False, False, True]
    assert [bool(each) for each in cohort.judge(honest([5.0]))] == [True]
    assert cohort.judge(honest([0.1])) == [""]


ARRAY = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=5)


@given(st.lists(st.tuples(ARRAY, ARRAY), min_size=1, max_size=3))
def test_the_length_is_numpys_norm_of_the_difference_over_all_tensors(pairs):
    cut = [min(len(a), len(b)) for a, b in pairs]
    new = {str(i): np.float32(a[: cut[i]]) for i, (a, _) in enumerate(pairs)}
    old = {str(i): np.float32(b[: cut[i]]) for i, (_, b) in enumerate(pairs)}
    change = np.concatenate([np.float64(new[name]) - old[name] for name in new])
    assert update_length(new, old) == pytest.approx(np.linalg.norm(change), rel=1e-4, abs=1e-6)


def test_a_length_that_overflows_is_infinite_and_no_warning():
    huge = np.full(4, 3e38, np.float32)
    assert update_length({"w": huge}, {"w": -huge}) == math.inf


def _longer(olds, times, name, new):
    return olds[name] + times * (new - olds[name])


def scaling(name, times):
    """Return a client app in which one site's updates are some times as long."""

    def app(message, context):
        reply = clients.app.app(message, context)
        ours = clients.app.open_site(context).name == name
        if ours and message.metadata.message_type == "train":
            olds = arrays_of(message.content, "adaptor")
            longer = partial(_longer, olds, np.float32(times))
            change(reply.content, "adaptor", longer)
        return reply

    return app


@pytest.mark.parametrize(("bound", "listed"), [(5.0, ["quarantined"] * 4), (0.0, ["trained"] * 4)])
def test_a_run_leaves_out_an_update_that_is_ten_times_as_long(synthetic_run, bound, listed):
    app = scaling("site-2", 10)
    folder, _ = synthetic_run(sites=5, client_app=app, norm_bound=bound, patience=0)
    rows = pd.read_csv(folder / "sites.csv").query("experience >= 0")
    assert rows.query("site == 'site-2'")["status"].tolist() == listed
    assert (rows.query("site != 'site-2'")["status"] == "trained").all()
