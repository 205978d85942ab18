"""Whom a round asks, how many at a time, and what is left of their answers."""

import itertools
import weakref

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clients.app
import server.federation
from fedretune.errors import UserError
from scenarios import RunConfig
from server.stream import drawn
from tests.run_folders import adaptors

SITES = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=40, unique=True)


@given(sites=SITES, share=st.floats(0.001, 1), seed=st.integers(0, 2**32))
def test_a_share_of_the_sites_at_least_one_is_drawn_in_their_order(sites, share, seed):
    found = drawn(sites, share, seed)
    assert len(found) == max(1, round(share * len(sites)))
    assert found == [site for site in sites if site in found]
    assert found == drawn(sites, share, seed)


def test_every_site_takes_its_turn():
    sites = [str(number) for number in range(20)]
    rounds = [drawn(sites, 0.1, seed) for seed in range(200)]
    assert set(itertools.chain(*rounds)) == set(sites)


def test_no_site_is_drawn_of_none():
    assert drawn([], 0.5, 0) == []


def trained(folder):
    """Return the sites that trained, by round."""
    rows = pd.read_csv(folder / "sites.csv").query("status == 'trained'")
    return [set(group["site"]) for _, group in rows.groupby(["experience", "round"])]


def test_a_round_with_a_share_of_the_sites_asks_no_others_and_each_is_evaluated(synthetic_run):
    folder, summary = synthetic_run(sites=4, participation=0.5, rounds=4)
    rounds = trained(folder)
    assert [len(each) for each in rounds] == [2] * 8
    assert len(set(map(frozenset, rounds))) > 1
    assert set(pd.read_csv(folder / "sites.csv")["status"]) == {"joined", "trained"}
    assert set(pd.read_csv(folder / "auroc.csv")["site"]) == {*summary["sites"], "pooled"}
    again, _ = synthetic_run("again", sites=4, participation=0.5, rounds=4)
    assert trained(again) == rounds
    assert adaptors(again) == adaptors(folder)


@pytest.mark.parametrize("method", ["retune+ewc", "retune+lwf+replay"])
def test_a_share_of_the_sites_is_refused_where_each_must_see_an_experiences_end(method):
    with pytest.raises(UserError, match=r"participation = 0.5 .*set participation = 1"):
        RunConfig.from_flat({"participation": 0.5, "method": method})


@pytest.mark.parametrize("method", ["retune", "retune+lwf", "local"])
def test_asking_in_groups_changes_no_bit(synthetic_run, finished, monkeypatch, method):
    whole, _ = finished(sites=5, method=method)
    monkeypatch.setattr(server.federation, "GROUP", 2)
    grouped, _ = synthetic_run("grouped", sites=5, method=method)
    for file in ("auroc.csv", "measures.csv", "findings.csv", "sites.csv"):
        assert (grouped / file).read_bytes() == (whole / file).read_bytes()
    files = [path.relative_to(whole) for path in whole.rglob("*.safetensors")]
    learnt = [path for path in files if path.parts[0] not in ("checkpoints", "memory")]
    assert learnt
    assert all((grouped / path).read_bytes() == (whole / path).read_bytes() for path in learnt)


def test_no_more_answers_than_a_groups_are_there_at_once(synthetic_run, monkeypatch):
    monkeypatch.setattr(server.federation, "GROUP", 3)
    answers, alive = [], []

    def app(message, context):
        reply = clients.app.app(message, context)
        answers.append(weakref.ref(reply))
        alive.append(sum(each() is not None for each in answers))
        return reply

    synthetic_run(client_app=app, sites=12, rounds=1)
    assert len(answers) > 100
    assert max(alive[12:]) <= 3  # the first twelve are the handshake's, a few hundred bytes each
