"""Runs in which the server hides whole sites: what they say, spend, refuse, and end in."""

import csv
import json

import numpy as np
import pytest

from fedretune.cli import superlink
from fedretune.errors import UserError
from fedretune.privacy.accounting import Spending, epsilon_of
from scenarios import RunConfig
from server.folder import RunFolder
from tests.run_folders import adaptors, killed_after
from tests.server.test_participation import trained

SITE = {"privacy__mechanism": "site", "privacy__noise": 2.0, "privacy__clip": 0.1}
SITE_KEYS = {"privacy.mechanism": "site", "privacy.noise": 1.0}


def rows(folder):
    with (folder / "privacy.csv").open() as file:
        return list(csv.DictReader(file))


def events(folder, kind):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [each for each in map(json.loads, lines) if each["event"] == kind]


def test_a_run_tells_what_all_rounds_have_spent_for_every_site(synthetic_run):
    folder, summary = synthetic_run(**SITE)
    told = rows(folder)
    assert [(row["site"], row["unit"], row["clip"]) for row in told] == [
        ("@all", "site", "0.1")
    ] * 4
    for number, row in enumerate(told, start=1):
        spent = epsilon_of([Spending(2.0, 1.0, number)], 1e-5)
        assert float(row["epsilon"]) == pytest.approx(spent, abs=1e-3)
    assert summary["epsilon"] == pytest.approx(float(told[-1]["epsilon"]))
    assert (summary["privacy_unit"], summary["noise_sources"]) == ("site", ["seeded"])


def test_an_epsilon_is_kept_to_over_all_experiences_and_what_is_not_drawn_counts(synthetic_run):
    values = {**SITE, "privacy__noise": 0.0, "privacy__epsilon": 8.0}
    _, whole = synthetic_run("whole", **values)
    folder, part = synthetic_run("part", sites=8, participation=0.5, **values)
    assert 7.8 < whole["epsilon"] <= 8.0
    assert 7.8 < part["epsilon"] <= 8.0
    assert {float(row["rate"]) for row in rows(folder)} == {0.5}


def test_each_site_is_drawn_by_itself_and_a_round_of_none_is_noise(synthetic_run):
    folder, _ = synthetic_run(sites=3, participation=0.3, rounds=8, **SITE)
    told = events(folder, "round")
    assert len(told) == 16 == len(rows(folder))
    assert len({each["asked"] for each in told}) > 2
    empty = [each for each in told if not each["asked"]]
    assert empty
    assert {(each["sites"], each["loss"]) for each in empty} == {(0, 0.0)}
    assert max(map(len, trained(folder))) > 1


@pytest.mark.parametrize(
    "more",
    [
        {"strategy": "fedadam", "privacy__clip_quantile": 0.5, "participation": 0.7},
        {"compression": "topk"},
        {"method": "replay", "remedy__replay": 5, "stream_mean": True},
    ],
    ids=lambda more: "-".join(map(str, more.values())),
)
def test_a_killed_run_ends_with_the_bytes_and_the_account_of_one_that_was_not(
    synthetic_run, monkeypatch, more
):
    whole, _ = synthetic_run("whole", **SITE, **more)
    with killed_after(4, monkeypatch):
        synthetic_run("cut", **SITE, **more)
    cut, _ = synthetic_run("cut", **SITE, **more, resume=True)
    assert adaptors(cut) == adaptors(whole)
    assert rows(cut) == rows(whole)


def test_secure_noise_is_another_each_time_and_on_the_disk_before_it_leaves(
    synthetic_run, monkeypatch
):
    settled, settle = [], RunFolder.settle
    monkeypatch.setattr(RunFolder, "settle", lambda self: (settled.append(1), settle(self)))
    values = {**SITE, "privacy__noise_source": "secure"}
    one, summary = synthetic_run("one", **values)
    two, _ = synthetic_run("two", **values)
    assert adaptors(one) != adaptors(two)
    assert summary["noise_sources"] == ["secure"]
    assert len(settled) >= 2 * 4


def test_a_clip_that_adapts_is_told(synthetic_run):
    folder, _ = synthetic_run(**{**SITE, "privacy__noise": 0.01, "privacy__clip_quantile": 0.9})
    clips = [float(row["clip"]) for row in rows(folder)]
    assert clips[0] == 0.1
    assert np.all(np.diff(clips) != 0)


def test_the_account_is_shown_as_that_of_every_site(synthetic_run, fedretune):
    folder, summary = synthetic_run(**SITE)
    shown = fedretune("privacy", "budget", folder)
    assert shown.code == 0
    assert "every site" in shown.err
    assert "for each site" in shown.err
    told = json.loads(fedretune("privacy", "budget", folder, "--json").out)
    assert told["sites"]["@all"]["1"] == pytest.approx(summary["epsilon"])


def test_a_delta_at_which_a_site_might_be_published_is_refused(synthetic_run):
    with pytest.raises(UserError, match="there are 3 sites"):
        synthetic_run(**SITE, privacy__delta=0.4)


def test_across_hospitals_the_noise_comes_from_the_operating_system():
    config = RunConfig.from_flat(SITE_KEYS).to_flat()
    superlink.check_noise(config)
    assert config["privacy.noise-source"] == "secure"
    with pytest.raises(UserError, match="take the noise off again"):
        superlink.check_noise({**config, "privacy.noise-source": "seeded"})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"privacy.noise": 0.0}, "give one of them above 0"),
        ({"privacy.epsilon": 1.0}, "give one of them"),
        ({"privacy.clip": 0.0}, "noise without clipping"),
        ({"privacy.clip-quantile": 1.0}, "clip-quantile"),
        ({"privacy.rate": 0.1}, "participation is the chance of each site"),
        ({"privacy.unit": "image"}, r"privacy\.unit means nothing"),
        ({"privacy.mechanism": "example", "privacy.clip-quantile": 0.5}, "means nothing"),
        ({"strategy": "krum"}, "looks at each site's reply"),
        ({"strategy": "scaffold"}, "looks at each site's reply"),
        ({"strategy": "regmean"}, "looks at each site's reply"),
        ({"averaging": "positives"}, "counts that no noise hides"),
        ({"secure-aggregation": True, "sites": 4}, "it must cut each"),
        ({"method": "local"}, "adds up no sites"),
        ({"method": "central"}, "adds up no sites"),
        ({"adaptor.kind": "lora"}, "set adaptor.averaging = freeze-A"),
        ({"norm-bound": 3.0}, "none may decide on more than its own part"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_what_promises_nothing_or_needs_more_than_the_sum_is_refused(more, words):
    with pytest.raises(UserError, match=words):
        RunConfig.from_flat({**SITE_KEYS, **more})


def test_no_update_is_judged_by_the_others_so_that_none_decides_on_anothers_part():
    config = RunConfig.from_flat(SITE_KEYS)
    assert config.norm_bound == 0
    with_offsets = RunConfig.from_flat({**SITE_KEYS, "method": "offsets"})
    assert with_offsets.averaging == "examples"  # whatever the method wishes for
    assert config.train.balance == "sqrt"  # what a site does with its labels is under the noise
