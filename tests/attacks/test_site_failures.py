"""Whole runs in which sites crash, are slow, leave and come back."""

import pandas as pd
import pytest

from clients.attacks import attackers_among
from scenarios.failures import Failures
from tests.attacks.staged_runs import SITES
from tests.run_folders import killed_after

FAILURES = "crash:0.2, slow:0.2, leave:0.2"
OPTIONS = {"failures": FAILURES, "experiences": 3, "quorum": 0.1, "patience": 0}
#: What the server says of each: it knows what it sees.
SEEN = {"crash": "failed", "slow": "silent", "leave": "silent"}


@pytest.fixture(scope="module")
def failing(runs):
    return runs("failing", **OPTIONS)


def test_a_run_ends_and_its_table_says_who_was_missing_and_why(failing):
    assert failing.summary["status"] == "complete"
    fates = {
        (f"site-{site + 1}", e, r): Failures.of(FAILURES).fate(1, site, e, r)
        for site in range(SITES)
        for e in range(3)
        for r in (0, 1, -1)
    }
    assert set(fates.values()) == {"", *SEEN}  # else this test would show less than it says
    table = failing.sites
    told = {
        (row.site, row.experience, row.round): row.status
        for row in table.itertuples()
        if row.status in SEEN.values()
    }
    assert told == {where: SEEN[fate] for where, fate in fates.items() if fate}
    trained = table[table["status"] == "trained"]
    assert set(zip(trained["site"], trained["experience"], trained["round"], strict=True)) == {
        (site, e, r) for (site, e, r), fate in fates.items() if r >= 0 and not fate
    }


def test_the_same_bytes_whatever_the_number_of_workers(runs, failing):
    shared = runs("shared", workers=3, **OPTIONS)
    assert shared.adaptors == failing.adaptors
    for table in ("auroc.csv", "sites.csv"):
        assert (shared.folder / table).read_bytes() == (failing.folder / table).read_bytes()


@pytest.mark.parametrize("step", [3, 6])
def test_a_killed_run_resumes_to_the_same_bytes(runs, failing, monkeypatch, step):
    with killed_after(step, monkeypatch):
        runs(f"killed-{step}", **OPTIONS)
    resumed = runs(f"killed-{step}", resume=True, **OPTIONS)
    assert resumed.adaptors == failing.adaptors
    name = "auroc.csv"
    assert (resumed.folder / name).read_bytes() == (failing.folder / name).read_bytes()


def test_sites_that_crash_or_are_slow_are_done_without_in_a_secure_sum(runs):
    options = {"failures": "crash:0.12, slow:0.05", "quorum": 0.1, "patience": 0}
    options |= {"secure_threshold": 0.51, "secure_aggregation": True}
    summed = runs("summed", **options)
    fates = {
        (f"site-{site + 1}", e, r): Failures.of(options["failures"]).fate(1, site, e, r)
        for site in range(SITES)
        for e in (0, 1)
        for r in (0, 1)
    }
    assert set(fates.values()) == {"", "crash", "slow"}  # else this test would show less
    table = summed.sites
    trained = table[table["status"] == "trained"]
    assert set(zip(trained["site"], trained["experience"], trained["round"], strict=True)) == {
        where for where, fate in fates.items() if not fate
    }
    assert "late" in set(table["status"])  # a masked vector, to the message of another round
    traffic = pd.read_csv(summed.folder / "traffic.csv").query("round >= 0 and direction == 'up'")
    answers = traffic.groupby("kind")["site"].count()
    failed = sum(bool(fate) for fate in fates.values())
    assert answers["query.keys"] == answers["query.shares"] == len(fates)
    assert answers["train"] == answers["query.unmask"] == len(fates) - failed


def test_an_attacker_that_fails_does_not_attack(runs):
    failures = "crash:0.1"
    attackers = attackers_among(SITES, 2, seed=1)
    options = {"attack": "nan", "attackers": 2, "quorum": 0.1, "patience": 0}
    table = runs("gone", failures=failures, **options).sites.set_index(
        ["site", "experience", "round"]
    )
    fates = {
        (f"site-{site + 1}", e, r): Failures.of(failures).fate(1, site, e, r)
        for site in attackers
        for e in (0, 1)
        for r in (0, 1)
    }
    assert set(fates.values()) == {"", "crash"}  # else this test would show less than it says
    for where, fate in fates.items():
        assert table.loc[where, "status"] == ("failed" if fate else "quarantined")
