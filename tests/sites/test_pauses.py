"""How often a hospital's SuperNode looks for work."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.sites import pauses


@pytest.fixture
def slept(monkeypatch):
    """The pauses made, in seconds, without waiting for them."""
    made = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def test_an_idle_site_looks_less_and_less_often_and_then_as_flower_has_it(slept):
    clock = pauses.Pauses()
    for _ in range(20_000):  # most of a day
        clock.sleep(3)
    assert slept[0] == pauses.FIRST
    assert slept == sorted(slept)
    assert slept[-1] == 3
    assert sum(slept[:10]) < 5


def test_work_makes_it_look_often_again(slept):
    clock = pauses.Pauses()
    for seconds in (3, 3, 3, 0.5, 3):
        clock.sleep(seconds)
    assert slept[2] > slept[0]
    assert slept[3:] == [pauses.OWN, pauses.FIRST]


@given(asked=st.lists(st.floats(0, 100), max_size=30))
def test_no_pause_is_longer_than_was_asked_for(asked):
    made, clock = [], pauses.Pauses()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", made.append)
        for seconds in asked:
            clock.sleep(seconds)
    assert all(0 <= pause <= seconds for pause, seconds in zip(made, asked, strict=True))


def test_all_else_is_the_modules_own():
    assert pauses.Pauses().monotonic is time.monotonic


def test_flower_still_has_what_is_changed_in_it():
    """Where it has not, pauses are Flower's own: slower, and not wrong. Then mend the script."""
    from flwr.supernode import start_client_internal
    from flwr.supernode.runtime import run_clientapp

    assert start_client_internal.time is time
    assert callable(start_client_internal.pull_objects)
    assert callable(run_clientapp.pull_and_inflate_object_from_tree)
    assert callable(run_clientapp.install_from_fab)
