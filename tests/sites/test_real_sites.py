"""Sites that read their own files, in a federation: what they learn, decline and let out."""

import csv
import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from fedretune.adaptors import ADAPTORS, AdaptorSpec
from fedretune.errors import UserError
from fedretune.methods import METHODS
from fedretune.privacy.accounting import Spending, epsilon_of
from fedretune.privacy.ledger import PrivacyLedger
from fedretune.sites import load_site
from tests.sites.hospitals import statuses


def test_real_sites_learn_to_the_bit_what_a_simulation_of_their_pooled_manifest_does(
    hospitals, out
):
    """Both by date, the one way that does not depend on which sites there are beside it."""
    real, _ = hospitals.run(out)
    pooled, _ = hospitals.pooled(out, arrival="date")
    ours, theirs = (load_file(folder / "adaptors.safetensors") for folder in (real, pooled))
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    for table in ("auroc.csv", "measures.csv"):
        assert (real / table).read_bytes() == (pooled / table).read_bytes()
    assert statuses(real) == []


def test_nothing_that_the_server_names_is_read_or_written_at_a_site(hospitals, out, tmp_path):
    trap = tmp_path / "trap"
    expected, _ = hospitals.run(out)
    folder, _ = hospitals.run(
        out / "other",
        manifest="/etc/passwd",
        backbone=f"local-dir:{trap}",
        allow_hub=True,
        device="cuda",
        arrival="experience",
    )
    assert statuses(folder) == []
    ours, theirs = (load_file(each / "adaptors.safetensors") for each in (folder, expected))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert not trap.exists()
    memory = load_site(hospitals.folder("north")).memory
    assert (memory / "left.csv").is_file()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prompts", "/etc/passwd"),
        ("prompts", "../../etc/passwd"),
        ("partition", "iid"),
        ("schedule", "asynchronous"),
        ("method", "central"),
    ],
)
def test_a_config_that_only_a_simulation_can_follow_is_declined(hospitals, out, key, value):
    with pytest.raises(UserError, match="No site can take part"):
        hospitals.run(out, **{key: value})
    told = statuses(out / "real")
    assert {status for _, status, _ in told} == {"refused"}
    assert all("passwd" not in reason for _, _, reason in told)
    assert {reason.split(":")[0] for _, _, reason in told} <= {"north", "south"}


@pytest.mark.parametrize(
    ("policy", "run", "reason"),
    [
        ({"methods": ["ewc"]}, {}, "no method 'retune'"),
        ({"methods": ["retune"]}, {"method": "retune+ewc"}, "no method 'ewc'"),
        ({"adaptors": ["mlp"]}, {"adaptor__kind": "linear"}, "no adaptor 'linear'"),
        (
            {"methods": ["linear-probe"]},
            {"method": "linear-probe"},
            "no adaptor 'probe'",
        ),
        ({}, {"strategy": "qfedavg"}, "no record of the strategy 'fairness'"),
        ({"rounds": 1}, {}, "at most 1 rounds in a run, and this one has 2"),
        ({"epsilon": 3.0}, {}, "an epsilon of at most 3, and the run has no differential"),
        ({"bundle": "0" * 64}, {}, "another app bundle"),
    ],
)
def test_a_policy_that_forbids_the_run_takes_that_site_out_alone(
    hospitals, out, policy, run, reason
):
    hospitals.change("north", "policy.toml", **policy)
    everything = {"methods": [*METHODS], "adaptors": [*ADAPTORS, "probe"], "records": ["fairness"]}
    hospitals.change("south", "policy.toml", **everything)
    folder, summary = hospitals.run(out, **run)
    ((_, status, said),) = set(statuses(folder))
    assert status == "refused"
    assert said.startswith("north declines: the site's policy allows ")
    assert reason in said
    assert summary["status"] == "complete"
    assert summary["sites"] == ["south"]
    assert not [row for row in _left(hospitals, "north") if not row["refusal"]]


def test_a_shard_that_is_too_small_is_not_trained_and_the_reason_is_told(hospitals, out):
    table = pd.read_csv(hospitals.root / "north.csv")
    train = table.index[table["split"] == "train"]
    table["experience"] = 1
    table.loc[train[:3], "experience"] = 2
    table.to_csv(hospitals.root / "north.csv", index=False)
    hospitals.change("north", "policy.toml", smallest_shard=5)
    folder, summary = hospitals.run(out)
    reason = "north declines: the site's policy allows at least 5 images, and there are fewer here"
    assert statuses(folder) == [("north", "refused", reason)]
    assert summary["sites"] == ["north", "south"]
    assert [row["round"] for row in _left(hospitals, "north") if row["kind"] == "train"] == [
        "0",
        "0",
    ]


def test_a_site_too_small_to_be_evaluated_declines_that_too(hospitals, out):
    hospitals.change("north", "policy.toml", smallest_shard=10_000)
    folder, _ = hospitals.run(out)
    assert {status for _, status, _ in statuses(folder)} == {"refused"}
    kinds = {row["kind"] for row in _left(hospitals, "north") if not row["refusal"]}
    assert kinds == {"query"}


def test_training_replies_are_spent_over_all_runs_whatever_they_call_themselves(hospitals, out):
    hospitals.change("north", "policy.toml", rounds_in_all=3)
    hospitals.run(out)
    folder, _ = hospitals.run(out / "again")
    ((site, status, reason),) = statuses(folder)
    assert (site, status) == ("north", "refused")
    assert "at most 3 training replies in all, and they are spent" in reason
    left = [row for row in _left(hospitals, "north") if row["kind"] == "train"]
    assert [bool(row["refusal"]) for row in left] == [False, False, False, True]


def test_small_cells_are_sent_as_0_and_the_run_tells_how_many(hospitals, out):
    open_folder, before = hospitals.run(out)
    hospitals.change("north", "policy.toml", smallest_cell=4)
    folder, summary = hospitals.run(out / "closed")
    cells = summary["suppressed_cells"]
    assert before["suppressed_cells"] == {}
    assert set(cells) == {"north"}
    assert cells["north"] > 0
    assert summary["quarantined"] == []
    full, held = (_counted(each) for each in (open_folder, folder))
    assert held["north"] < full["north"]
    assert held["south"] == full["south"]
    assert held["pooled"] == held["north"] + held["south"]


def test_what_has_left_is_in_the_sites_ledger_which_only_it_can_read(hospitals, out):
    hospitals.run(out)
    rows = _left(hospitals, "south")
    spec = AdaptorSpec("mlp", "double", 16, True, "learnable")
    size = 4 * sum(int(np.prod(shape)) for shape, _ in spec.tensors().values())
    assert [row["bytes"] for row in rows if row["kind"] == "train"] == [str(size)] * 2
    assert {row["run"] for row in rows if row["kind"] != "query"} == {"real"}
    assert not stat.S_IMODE(hospitals.folder("south").stat().st_mode) & 0o077


def test_what_is_remembered_of_runs_lies_apart_from_the_ledger_whatever_a_run_is_called(
    hospitals, out
):
    hospitals.run(out, method="ewc")
    memory = load_site(hospitals.folder("north")).memory
    assert sorted(path.name for path in memory.iterdir()) == ["left.csv", "runs"]
    assert [path.name for path in (memory / "runs").iterdir()] == ["real"]


def test_a_backbone_that_is_not_the_pinned_one_takes_no_part(hospitals, out):
    hospitals.change("north", "site.toml", backbone_sha256="0" * 64)
    folder, summary = hospitals.run(out)
    assert summary["sites"] == ["south"]
    ((_, status, reason),) = set(statuses(folder))
    assert (status, reason) == ("refused", "north: its backbone is not the one that it has pinned")


def test_experiences_come_from_a_sites_own_column_and_need_not_line_up(hospitals, out):
    table = pd.read_csv(hospitals.root / "north.csv")
    table["experience"] = 2
    table.to_csv(hospitals.root / "north.csv", index=False)
    folder, summary = hospitals.run(out)
    where = [(site, status) for site, status, _ in statuses(folder)]
    assert where == [("north", "no-images")]
    assert summary["sites"] == ["north", "south"]


def test_a_ledger_that_cannot_be_written_lets_nothing_out(hospitals, out):
    memory = load_site(hospitals.folder("north")).memory
    (memory / "left.csv").mkdir(parents=True)
    folder, summary = hospitals.run(out)
    assert summary["sites"] == ["south"]
    assert {status for _, status, _ in statuses(folder)} == {"refused"}


def test_the_cache_of_a_site_is_the_one_that_it_names(hospitals, out, tmp_path):
    hospitals.change("south", "site.toml", cache=str(tmp_path / "own"))
    hospitals.run(out)
    assert os.environ["FEDRETUNE_CACHE"] == str(tmp_path / "own")
    assert (tmp_path / "own" / "embeddings").is_dir()


def _left(hospitals, name: str) -> list[dict[str, str]]:
    return load_site(hospitals.folder(name)).ledger.rows()


def _counted(folder: Path) -> dict[str, int]:
    """Return by site how many test labels the last evaluation counted."""
    found: dict[str, int] = {}
    with (folder / "auroc.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["model"], row["after_experience"]) == ("adapted", "1"):
                count = int(row["positives"]) + int(row["negatives"])
                found[row["site"]] = found.get(row["site"], 0) + count
    return found


PRIVATE = {"privacy__mechanism": "example", "privacy__noise": 3.0, "privacy__delta": 1e-5}


def test_a_hospital_with_an_epsilon_takes_part_in_a_private_run_and_accounts_for_it(hospitals, out):
    hospitals.change("north", "policy.toml", epsilon=50.0)
    folder, summary = hospitals.run(out, **PRIVATE)
    assert statuses(folder) == []
    assert summary["noise_sources"] == ["secure"]
    site = load_site(hospitals.folder("north"))
    ledger = PrivacyLedger(site.memory / "privacy.csv")
    told = [(each.run.partition("@")[0], each.experience) for each in ledger.releases()]
    assert told == [("real", 0), ("real", 1)]
    with (folder / "privacy.csv").open() as file:
        told = [float(row["epsilon"]) for row in csv.DictReader(file) if row["site"] == "north"]
    assert told[-1] == pytest.approx(ledger.epsilon(1e-5), abs=1e-3)


def test_a_run_of_the_same_name_that_cuts_the_patients_otherwise_is_paid_for_in_full(
    hospitals, out
):
    hospitals.run(out, **PRIVATE)
    ledger = PrivacyLedger(load_site(hospitals.folder("north")).memory / "privacy.csv")
    once = ledger.epsilon(1e-5)
    hospitals.run(out / "again", **PRIVATE, experiences=3)
    releases = ledger.releases()
    assert len({each.run for each in releases}) == 2
    assert len({each.run.partition("@")[0] for each in releases}) == 1
    dearest = epsilon_of([each.spent for each in releases[:1] + releases[-1:]], 1e-5)
    assert ledger.epsilon(1e-5) >= dearest > once


def test_the_round_that_would_spend_too_much_is_declined_and_the_other_hospital_goes_on(
    hospitals, out
):
    once = epsilon_of([Spending(3.0, 0.5, 5)], 1e-5)
    hospitals.change("north", "policy.toml", epsilon=round(1.2 * once, 3))
    folder, summary = hospitals.run(out, **PRIVATE, rounds=2)
    told = statuses(folder)
    assert {site for site, *_ in told} == {"north"}
    assert all("this round would bring it to" in reason for *_, reason in told)
    releases = PrivacyLedger(load_site(hospitals.folder("north")).memory / "privacy.csv").releases()
    assert len([each for each in releases if each.experience == 0]) == 1
    assert summary["status"] == "complete"


def test_a_hospital_with_an_epsilon_declines_a_run_in_which_only_the_server_promises_privacy(
    hospitals, out
):
    hospitals.change("north", "policy.toml", epsilon=50.0)
    folder, summary = hospitals.run(out, **{**PRIVATE, "privacy__mechanism": "site"})
    assert summary["privacy_unit"] == "site"
    assert (told := statuses(folder))
    assert all("no differential privacy at the site" in reason for *_, reason in told)


def test_a_hospital_takes_no_noise_that_a_server_could_guess(hospitals, out):
    with pytest.raises(UserError, match="Only 0 of 2 sites"):
        hospitals.run(out, **PRIVATE, privacy__noise_source="seeded")
    assert all("its own machine" in reason for *_, reason in statuses(out / "real"))


def test_a_hospital_whose_counts_have_noise_is_told_with_its_scale_and_not_quarantined(
    hospitals, out
):
    plain, before = hospitals.run(out / "plain")
    hospitals.change("north", "policy.toml", cell_noise=1.5)
    folder, summary = hospitals.run(out)
    assert {(site, status) for site, status, _ in statuses(folder)} == {("north", "noised")}
    assert summary["noised_counts"] == {"north": 1.5}
    assert (before["noised_counts"], summary["quarantined"]) == ({}, [])
    noised, exact = (
        [
            row["positives"]
            for row in csv.DictReader((each / "auroc.csv").open())
            if row["site"] == "north"
        ]
        for each in (folder, plain)
    )
    assert noised != exact
