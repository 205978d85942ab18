"""Hospitals with policies of their own in secure sums."""

import os

import pandas as pd
import pytest

from fedretune.adaptors import load
from fedretune.errors import UserError
from fedretune.sites import load_site
from fedretune.sites.checks import check_site
from fedretune.sites.policy import Policy, Proposal
from tests.sites.hospitals import make_hospitals, statuses

NAMES = ("east", "north", "south", "west")
SECURE = {"secure_aggregation": True, "rounds": 1, "experiences": 1}


@pytest.fixture
def four(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDRETUNE_CACHE", os.environ["FEDRETUNE_CACHE"])
    made = make_hospitals(tmp_path / "hospitals", tiny, NAMES)
    for name in NAMES:
        made.change(name, "site.toml", cache=os.environ["FEDRETUNE_CACHE"])
        made.change(name, "policy.toml", smallest_shard=0, secure_aggregation="required")
    return made


def test_hospitals_that_require_it_end_where_a_simulation_does(four, tmp_path):
    real, summary = four.run(tmp_path, **SECURE)
    assert statuses(real) == []
    ours, theirs = (
        load(folder / "adaptors.safetensors")[1]
        for folder in (real, four.pooled(tmp_path, **SECURE)[0])
    )
    assert {n: each.tobytes() for n, each in ours.items()} == {
        n: each.tobytes() for n, each in theirs.items()
    }
    assert pd.read_csv(real / "auroc.csv")["positives"].sum() > 0
    for name in NAMES:
        ledger = pd.read_csv(four.folder(name) / "memory" / "left.csv")
        (bytes_,) = ledger.loc[ledger["kind"] == "train", "bytes"]
        assert bytes_ > 0
        assert (ledger["kind"] == "query.unmask").sum() == 2 * 3 + 1
        assert ledger["refusal"].isna().all()
        assert not list((four.folder(name) / "memory").rglob("session.json"))
    assert summary["suppressed_cells"] == {}


def test_hospitals_that_require_it_decline_a_run_without_it(four, tmp_path):
    four.change("west", "policy.toml", secure_aggregation="allowed")
    folder, summary = four.run(tmp_path, rounds=1, experiences=1)
    assert summary["sites"] == ["west"]
    told = statuses(folder)
    assert {status for _, status, _ in told} == {"refused"}
    assert all("secure aggregation alone, and the run has none" in why for *_, why in told)


def test_a_policy_hides_small_cells_before_they_are_masked(four, tmp_path):
    """Nobody sees which: the pooled counts lack them."""
    for name in NAMES:
        four.change(name, "policy.toml", smallest_cell=1000)
    folder, _ = four.run(tmp_path, **SECURE, method="zero-shot")
    table = pd.read_csv(folder / "auroc.csv")
    assert len(table)
    assert not table[["positives", "negatives"]].to_numpy().any()


def test_the_key_has_two_values(four):
    policy = Policy.model_validate(
        {"methods": ["retune"], "adaptors": ["mlp"], "secure-aggregation": "required"}
    )
    asked = {"methods": ["retune"], "adaptor": "mlp", "records": [], "rounds": 1, "bundle": ""}
    policy.check_run(Proposal(**asked, private=False, secure=True))
    with pytest.raises(UserError, match="secure aggregation alone"):
        policy.check_run(Proposal(**asked, private=False, secure=False))
    found = {each.name: each.detail for each in check_site(four.folder("west"))}
    assert found["policy"].endswith("secure aggregation required")
    four.change("west", "policy.toml", secure_aggregation="perhaps")
    site = load_site(four.folder("west") / "site.toml")
    with pytest.raises(UserError, match=r"secure-aggregation.*perhaps"):
        site.read_policy()
