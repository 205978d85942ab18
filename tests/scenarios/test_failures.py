"""When sites fail: by seed, site, experience and round alone, as often as was asked."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.errors import UserError
from scenarios import RunConfig
from scenarios.failures import Failures

RATES = st.floats(0, 0.5)


@given(crash=RATES, slow=RATES, leave=st.floats(0, 1))
def test_a_text_of_rates_is_read_as_those_rates(crash, slow, leave):
    text = f"leave: {leave!r},crash:{crash!r} , slow:{slow!r}"
    assert Failures.of(text) == Failures(crash, slow, leave)


def test_no_text_is_no_failure():
    assert Failures.of("") == Failures()


@pytest.mark.parametrize(
    "text", ["crash", "crash:", "crash:x", "crash:-0.1", "slow:1.1", "slow:nan", "crash:0.1 slow:0"]
)
def test_what_is_no_rate_is_refused_with_an_example(text):
    with pytest.raises(UserError, match=r"such as crash:0\.1, slow:0\.1, leave:0\.2"):
        Failures.of(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crsh:0.1", "Did you mean 'crash'"),
        ("slow:0.1, slow:0.2", "at most once"),
        ("slow:0.6, crash:0.6", "cannot crash and be slow in one round"),
    ],
)
def test_a_config_with_such_failures_is_refused(text, words):
    with pytest.raises(UserError, match=words):
        RunConfig.from_flat({"failures": text})


@given(st.text(max_size=30))
def test_any_other_text_is_an_error_that_a_user_can_read(text):
    with suppress(UserError):
        Failures.of(text)


@given(seed=st.integers(0, 9), site=st.integers(0, 99), experience=st.integers(0, 9))
def test_who_leaves_misses_that_experience_with_its_evaluation_and_is_back_after_the_next(
    seed, site, experience
):
    failures = Failures(leave=0.3)
    left = [failures.fate(seed, site, each, -1) == "leave" for each in range(12)]
    for round_ in range(3):
        assert [failures.fate(seed, site, e, round_) == "leave" for e in range(12)] == left
    runs = "".join("x" if each else " " for each in left).split()
    assert all(len(run) >= 2 for run in runs[:-1])


def test_sites_fail_as_often_as_asked_and_each_by_itself():
    failures = Failures(crash=0.1, slow=0.2, leave=0.1)
    fates = [
        failures.fate(1, site, e, r) for site in range(50) for e in range(10) for r in range(4)
    ]
    there = [fate for fate in fates if fate != "leave"]
    assert len(there) / len(fates) == pytest.approx(0.9**2, abs=0.05)
    assert there.count("crash") / len(there) == pytest.approx(0.1, abs=0.03)
    assert there.count("slow") / len(there) == pytest.approx(0.2, abs=0.03)


def test_an_evaluation_is_missed_by_those_alone_who_have_left():
    assert {Failures(crash=0.5, slow=0.5).fate(1, site, 0, -1) for site in range(50)} == {""}
