"""Who is put aside, and that a resumed run has the same idea of it."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clients.app
from fedretune.errors import UserError
from server.standing import Standing
from tests.run_folders import adaptors, killed_after

STATUSES = st.sampled_from(["trained", "silent", "quarantined", "refused", "failed", "late"])


def after(*rows, patience=2):
    """Return the standing after rows of (experience, status) of site a."""
    standing = Standing(patience)
    for experience, status in rows:
        standing.note("a", experience, status)
    return standing


def test_quarantined_often_enough_a_site_is_asked_no_more():
    rows = [(0, "quarantined"), (0, "trained"), (3, "quarantined")]
    assert not after(*rows[:2]).aside("a", 0)
    assert "2 replies were quarantined" in after(*rows).aside("a", 3)
    assert after(*rows).aside("a", 9)
    assert not after(*rows).aside("b", 3)


def test_silent_often_enough_a_site_is_asked_again_in_the_next_experience_once():
    twice = [(0, "silent"), (0, "silent")]
    assert not after(twice[0]).aside("a", 0)
    assert "next experience" in after(*twice).aside("a", 0)
    assert not after(*twice).aside("a", 1)
    assert after(*twice, (1, "silent")).aside("a", 1)
    assert not after(*twice, (1, "trained"), (1, "silent")).aside("a", 1)


@given(st.lists(st.tuples(st.integers(0, 3), STATUSES)))
def test_without_a_limit_nobody_is_put_aside(rows):
    assert not any(after(*rows, patience=0).aside("a", experience) for experience in range(4))


@given(st.lists(STATUSES, max_size=30), st.integers(1, 5))
def test_what_counts_is_the_number_of_quarantines_and_of_silences_in_a_row(statuses, patience):
    rows = [(0, status) for status in statuses]
    answered = [i for i, status in enumerate(statuses) if status not in ("silent", "late")]
    silent = statuses[answered[-1] + 1 if answered else 0 :].count("silent")
    expected = statuses.count("quarantined") >= patience or silent >= patience
    assert bool(after(*rows, patience=patience).aside("a", 0)) is expected


def spoiling(rounds):
    """Return a client app in which a site's replies of some (experience, round) are unsound."""

    def app(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "train":
            position = message.content["position"]
            at = (position["experience"], position["round"])
            if at in rounds.get(clients.app.open_site(context).name, ()):
                reply.content["metrics"]["num-examples"] = 0
        return reply

    return app


ROUNDS = [(0, 0), (0, 1), (1, 0)]


def statuses(folder, site):
    rows = pd.read_csv(folder / "sites.csv").query("experience >= 0 and site == @site")
    return rows["status"].tolist()


@pytest.mark.parametrize("step", [3, 4, 5, 6, 7])
def test_who_is_put_aside_stays_so_after_a_resume(synthetic_run, monkeypatch, step):
    """The last spoilt round is step 6: two evaluations, two rounds, an evaluation, a round."""
    app = spoiling({"site-2": ROUNDS})
    whole, summary = synthetic_run("whole", client_app=app, sites=4)
    assert statuses(whole, "site-2") == [*["quarantined"] * 3, "aside"]
    assert summary["quarantined"][1] == {
        "site": "site-2",
        "status": "quarantined",
        "times": 3,
        "reasons": ["num-examples is 0, and the site announced 24"],
    }
    with killed_after(step, monkeypatch):
        synthetic_run("killed", client_app=app, sites=4)
    killed, _ = synthetic_run("killed", client_app=app, sites=4, resume=True)
    assert statuses(killed, "site-2") == statuses(whole, "site-2")
    assert adaptors(killed) == adaptors(whole)
    assert (killed / "auroc.csv").read_bytes() == (whole / "auroc.csv").read_bytes()


def test_a_run_whose_sites_are_mostly_put_aside_ends_and_goes_on_with_more_patience(synthetic_run):
    app = spoiling({"site-1": [(0, 0)], "site-2": [(0, 1)]})
    values = {"client_app": app, "patience": 1, "sites": 4, "quorum": 0.6}
    with pytest.raises(UserError, match="Of 4 sites that joined, 2 are put aside"):
        synthetic_run(**values, rounds=3)
    with pytest.raises(UserError, match="Of 4 sites that joined, 2 are put aside"):
        synthetic_run(**values, rounds=3, resume=True)
    folder, summary = synthetic_run(**{**values, "quorum": 0.5}, rounds=3, resume=True)
    assert summary["status"] == "complete"
    assert statuses(folder, "site-1") == ["quarantined", "aside"]
