"""Runs under differential privacy: what they say, spend, refuse, and leave as it was."""

import csv
import json

import pytest

from fedretune.adaptors import load
from fedretune.errors import UserError
from fedretune.privacy.accounting import Spending, epsilon_of, noise_for
from scenarios import RunConfig
from tests.run_folders import adaptors, killed_after

PRIVATE = {"privacy__mechanism": "example", "privacy__noise": 2.0, "privacy__steps": 3}


def rows(folder):
    with (folder / "privacy.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_private_run_tells_what_each_site_has_spent_in_the_stream(synthetic_run):
    folder, summary = synthetic_run(**PRIVATE)
    told = rows(folder)
    assert len(told) == 3 * 2 * 2
    for row in told:
        spent = epsilon_of([Spending(2.0, 0.5, 3 * (int(row["round"]) + 1))], 1e-5)
        # Patients are dealt to experiences, so that the second spends nothing of the first's.
        first = epsilon_of([Spending(2.0, 0.5, 6)], 1e-5)
        wanted = spent if row["experience"] == "0" else first
        assert float(row["epsilon"]) == pytest.approx(wanted, abs=1e-3)
        assert (row["unit"], row["source"], row["clip"]) == ("patient", "seeded", "1.0")
    assert summary["epsilon"] == pytest.approx(max(float(row["epsilon"]) for row in told))
    assert (summary["delta"], summary["noise_sources"]) == (1e-5, ["seeded"])
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {each["loss"] for each in events if each["event"] == "round"} == {0.0}


def test_an_epsilon_is_kept_to_over_the_whole_stream(synthetic_run):
    values = {**PRIVATE, "privacy__noise": 0.0, "privacy__epsilon": 3.0}
    _, summary = synthetic_run(**values)
    assert 2.8 < summary["epsilon"] <= 3.0


@pytest.mark.parametrize(
    "values",
    [
        {"method": "joint"},
        {"schedule": "asynchronous", "asynchrony": "pace"},
        {"schedule": "asynchronous", "asynchrony": "order"},
        {"schedule": "late-join", "join_at": 2},
        {"scenario": "label-incremental"},
        {"method": "central"},
    ],
    ids=lambda values: "-".join(map(str, values.values())),
)
def test_an_epsilon_is_kept_to_whoever_trains_on_what_and_when(synthetic_run, values):
    private = {**PRIVATE, "privacy__noise": 0.0, "privacy__epsilon": 3.0}
    folder, summary = synthetic_run(**private, **values)
    assert rows(folder)
    assert 0 < summary["epsilon"] <= 3.0


def test_the_joint_method_trains_on_the_same_patients_in_each_experience_and_spends_for_each(
    synthetic_run,
):
    folder, summary = synthetic_run(**PRIVATE, method="joint", experiences=2)
    steps = sum(int(row["steps"]) for row in rows(folder) if row["site"] == "site-1")
    assert summary["epsilon"] == pytest.approx(
        epsilon_of([Spending(2.0, 0.5, steps)], 1e-5), abs=1e-3
    )


def test_without_it_nothing_changes_and_nothing_is_told(synthetic_run):
    folder, summary = synthetic_run()
    assert rows(folder) == []
    assert "epsilon" not in summary


def test_a_killed_private_run_ends_with_the_bytes_and_the_account_of_one_that_was_not(
    synthetic_run, monkeypatch
):
    whole, _ = synthetic_run("whole", **PRIVATE)
    with killed_after(4, monkeypatch):
        synthetic_run("cut", **PRIVATE)
    cut, _ = synthetic_run("cut", **PRIVATE, resume=True)
    assert adaptors(cut) == adaptors(whole)
    assert {tuple(row.values()) for row in rows(cut)} == {
        tuple(row.values()) for row in rows(whole)
    }


def test_secure_noise_is_another_each_time(synthetic_run):
    values = {**PRIVATE, "privacy__noise_source": "secure"}
    one, summary = synthetic_run("one", **values)
    two, _ = synthetic_run("two", **values)
    assert adaptors(one) != adaptors(two)
    assert summary["noise_sources"] == ["secure"]
    assert load(one / "adaptors.safetensors")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"privacy.epsilon": 3.0}, "privacy.mechanism is none"),
        ({"privacy.noise": 1.0}, "privacy.mechanism is none"),
        ({"privacy.mechanism": "example"}, "give one of them above 0"),
        (
            {"privacy.mechanism": "example", "privacy.noise": 1.0, "privacy.epsilon": 1.0},
            "give one of them",
        ),
        ({"privacy.mechanism": "example", "privacy.epsilon": -1.0}, "privacy.epsilon"),
        (
            {"privacy.mechanism": "example", "privacy.noise": 1.0, "privacy.clip": 0.0},
            "noise without clipping",
        ),
        ({"privacy.mechanism": "example", "privacy.noise": 1.0, "method": "ewc"}, "remembers"),
        ({"privacy.mechanism": "example", "privacy.noise": 1.0, "method": "replay"}, "remembers"),
        ({"privacy.mechanism": "example", "privacy.noise": 1.0, "strategy": "regmean"}, "regmean"),
        (
            {"privacy.mechanism": "example", "privacy.noise": 1.0, "train.balance": "full"},
            "labels past the noise",
        ),
        (
            {"privacy.mechanism": "example", "privacy.noise": 1.0, "averaging": "positives"},
            "counts",
        ),
        ({"privacy.mechanism": "example", "privacy.noise": 1.0, "privacy.delta": 0.0}, "delta"),
    ],
)
def test_settings_that_promise_nothing_are_refused(values, words):
    with pytest.raises(UserError, match=words):
        RunConfig.from_flat(values)


def test_a_delta_at_which_a_patient_might_be_published_is_declined(synthetic_run):
    with pytest.raises(UserError, match="Only 0 of 3 sites"):
        synthetic_run(**PRIVATE, privacy__delta=0.2)


def test_weights_of_positives_are_left_out_by_themselves():
    config = RunConfig.from_flat({"privacy.mechanism": "example", "privacy.epsilon": 3.0})
    assert (config.train.balance, config.train.one_class) == ("none", "train")
    assert noise_for(3.0, 1e-5, 0.5, 25) > 1


def test_the_recipe_keeps_to_its_epsilon_and_to_another_that_is_given():
    for given, epsilon in (({}, 3.0), ({"privacy.epsilon": 1.0}, 1.0)):
        config = RunConfig.from_flat({"recipe": "private", **given})
        privacy = config.privacy
        assert (config.adaptor.wiring, privacy.mechanism) == ("offsets", "example")
        steps = privacy.steps * config.rounds
        noise = noise_for(privacy.epsilon, privacy.delta, privacy.rate, steps)
        spent = epsilon_of([Spending(noise, privacy.rate, steps)], privacy.delta)
        assert epsilon - 0.05 < spent <= epsilon


def test_the_budget_is_told_by_site_and_experience(synthetic_run, fedretune, refused):
    folder, _ = synthetic_run(**PRIVATE)
    shown = fedretune("privacy", "budget", folder)
    assert shown.code == 0
    assert "site-1" in shown.err
    assert "after 2" in shown.err
    told = json.loads(fedretune("privacy", "budget", folder, "--json").out)
    assert told["sites"]["site-1"]["0"] == pytest.approx(float(rows(folder)[3]["epsilon"]))
    plain, _ = synthetic_run("plain")
    assert "privacy.mechanism=example" in refused("privacy", "budget", plain)
