"""Every attack of the zoo in a whole run: what is malformed is left out, and no run is lost."""

import numpy as np
import pytest

from clients.attacks import ATTACKS, attackers_among
from fedretune.adaptors import load
from tests.attacks.staged_runs import SITES

MALFORMED = [name for name, attack in ATTACKS.items() if attack.kind == "malformed"]
PLAUSIBLE = [name for name, attack in ATTACKS.items() if attack.kind == "plausible"]
ATTACKERS = 2
NODES = {position + 1 for position in attackers_among(SITES, ATTACKERS, seed=1)}
NAMES = {f"site-{node}" for node in NODES}


def silent(messages, ask):
    """Let nothing reach or leave the attackers while the others train."""
    return ask(
        [
            each
            for each in messages
            if each.metadata.message_type != "train" or each.metadata.dst_node_id not in NODES
        ]
    )


@pytest.fixture(scope="module")
def without(runs):
    """Run without the attackers' training."""
    return runs("without", network=silent)


@pytest.fixture(scope="module")
def honest(runs):
    return runs("honest")


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_reply_is_left_out_with_its_reason_and_the_run_is_complete(
    runs, without, honest, name
):
    attack = ATTACKS[name]
    run = runs(name, attack=name, attackers=ATTACKERS)
    assert run.summary["status"] == "complete"
    expected = honest if attack.counts_once else without
    assert run.adaptors == expected.adaptors
    told = run.sites[run.sites["reason"].str.contains(attack.reason, regex=False)]
    told = told[told["status"] == attack.status]
    assert set(told["site"]) == NAMES
    trained = run.sites[run.sites["status"] == "trained"]
    assert (set(trained["site"]) & NAMES == NAMES) is attack.counts_once
    assert len(trained[~trained["site"].isin(NAMES)]) == 4 * (SITES - ATTACKERS)


@pytest.mark.parametrize("name", PLAUSIBLE)
def test_a_plausible_attack_changes_what_comes_out_and_the_run_is_complete(runs, honest, name):
    run = runs(name, attack=name, attackers=ATTACKERS)
    assert run.summary["status"] == "complete"
    tensors = load(run.folder / "adaptors.safetensors")[1].values()
    assert all(np.isfinite(tensor).all() for tensor in tensors)
    assert run.adaptors != honest.adaptors


@pytest.mark.parametrize("name", ["gaussian", "alie", "boast", "label-flip", "slow"])
def test_an_attack_gives_the_same_bytes_whatever_the_number_of_workers(runs, name):
    one, three = (
        runs(f"{name}-{workers}-workers", workers, attack=name, attackers=ATTACKERS)
        for workers in (1, 3)
    )
    assert one.adaptors == three.adaptors
    for table in ("auroc.csv", "sites.csv", "traffic.csv"):
        assert (one.folder / table).read_bytes() == (three.folder / table).read_bytes()
