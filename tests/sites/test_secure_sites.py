"""Hospitals with policies of their own in secure sums."""

import os

import pandas as pd
import pytest

import clients.app
from fedretune.adaptors import load
from fedretune.errors import UserError
from fedretune.identity import add_key, fingerprint, read_public
from fedretune.privacy.secure.masks import private_key, public_key
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


@pytest.fixture
def signing(four):
    """The four, of which each has been told the others' keys."""
    for name in NAMES:
        four.change(name, "policy.toml", secure_aggregation="signed")
        for peer in NAMES:
            key = read_public(four.folder(peer) / "site.key.pub")
            add_key(load_site(four.folder(name)).peers, peer, key)
    return four


def tampering(monkeypatch, name: str, change) -> None:
    """Have the server change what it passes on of the others' keys to the site `name`."""
    real = clients.app.app

    def app(message, context):
        told = message.content.config_records.get("peers")
        if told is not None and f"/{name}/" in str(context.node_config["site"]):
            change(told)
        return real(message, context)

    monkeypatch.setattr(clients.app, "app", app)


def test_hospitals_that_want_signed_keys_sum_with_those_that_they_know(signing, tmp_path):
    folder, summary = signing.run(tmp_path, **SECURE, method="zero-shot")
    assert statuses(folder) == []
    assert summary["sites"] == list(NAMES)


def test_a_key_that_the_server_has_put_in_the_place_of_a_sites_is_refused(
    signing, tmp_path, monkeypatch
):
    """Whose secret it knows, and so would read what is sealed for that site."""
    own = [public_key(private_key(bytes([number]) * 16)).hex() for number in range(2)]

    def change(told):
        told["mask"] = [own[0], *told["mask"][1:]]
        told["seal"] = [own[1], *told["seal"][1:]]

    tampering(monkeypatch, "west", change)
    folder, summary = signing.run(tmp_path, **SECURE, method="zero-shot")
    assert set(statuses(folder)) == {
        (
            "west",
            "refused",
            "secure aggregation does not allow a sum with keys that 'east' has not signed for it",
        )
    }
    assert summary["status"] == "complete"  # of the three others


def test_keys_of_another_sum_swapped_names_and_no_signatures_are_refused(
    signing, tmp_path, monkeypatch
):
    before: list[dict[str, list[str]]] = []

    def change(told):
        now = {name: list(told[name]) for name in told}
        place = now["sites"].index("west")
        if len(before) == 1:  # all of the first sum again, but the site's own
            for name in ("mask", "seal", "signature"):
                old, own = before[0][name], now[name][place]
                told[name] = [own if at == place else each for at, each in enumerate(old)]
        elif len(before) == 2:
            told["signature"] = [""] * len(now["sites"])
        elif len(before) == 3:
            told["sites"] = [*reversed(now["sites"][:place]), "west"]
        before.append(now)

    tampering(monkeypatch, "west", change)
    folder, _ = signing.run(tmp_path, **SECURE, patience=0)
    said = [row for row in statuses(folder) if "has not signed for it" in row[2]]
    assert len(before) > 3
    assert len(said) == 3
    assert {site for site, *_ in said} == {"west"}


def test_a_site_that_is_not_on_the_list_is_in_no_sum(signing, tmp_path):
    site = load_site(signing.folder("west"))
    site.peers.unlink()
    add_key(site.peers, "north", read_public(signing.folder("north") / "site.key.pub"))
    folder, _ = signing.run(tmp_path, **SECURE, method="zero-shot")
    assert {row[:2] for row in statuses(folder)} == {("west", "refused")}
    assert all(
        "'east', which is not in this site's peers.toml" in why for *_, why in statuses(folder)
    )
    found = {each.name: each for each in check_site(signing.folder("west"))}
    assert not found["peers"].passed
    assert "`fedretune site trust` adds one" in found["peers"].detail


def test_a_hospital_is_told_the_key_of_another_by_hand(four, fedretune):
    key = four.folder("north") / "site.key.pub"
    done = fedretune("site", "trust", four.folder("west"), key, "--name", "north")
    assert done.code == 0, done.err
    assert fingerprint(read_public(key)) in done.err
    peers = load_site(four.folder("west")).read_peers()
    assert [fingerprint(each) for each in peers.values()] == [fingerprint(read_public(key))]


def test_the_key_has_three_values(four):
    policy = Policy.model_validate(
        {"methods": ["retune"], "adaptors": ["mlp"], "secure-aggregation": "required"}
    )
    asked = {"methods": ["retune"], "adaptor": "mlp", "records": [], "rounds": 1, "bundle": ""}
    policy.check_run(Proposal(**asked, private=False, secure=True))
    for value in ("required", "signed"):
        stricter = policy.model_copy(update={"secure_aggregation": value})
        with pytest.raises(UserError, match="secure aggregation alone"):
            stricter.check_run(Proposal(**asked, private=False, secure=False))
    found = {each.name: each.detail for each in check_site(four.folder("west"))}
    assert found["policy"].endswith("secure aggregation required")
    four.change("west", "policy.toml", secure_aggregation="perhaps")
    site = load_site(four.folder("west") / "site.toml")
    with pytest.raises(UserError, match=r"secure-aggregation.*perhaps"):
        site.read_policy()
