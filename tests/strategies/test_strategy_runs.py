"""Whole runs with each strategy, in one process, over vectors made for the test."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import clients.app
import fedretune.strategies
from fedretune.adaptors import load
from fedretune.errors import UserError
from fedretune.strategies import Traits
from fedretune.wire import take_apart
from server.models import adaptors_of, flatten, state_of, unflatten, with_state
from server.simulator import InProcessGrid
from server.strategies import STRATEGIES
from tests.run_folders import adaptors, killed_after
from tests.strategies.folding import constant, least

#: Those that are told apart where all sites have as many images, and take as many steps.
APART = [each for each in STRATEGIES if least(each) == 1 and each != "fednova"]
SHORT = {"experiences": 1, "rounds": 2, "train__epochs": 1}


@pytest.fixture
def late_first(monkeypatch):
    """Give a function after which replies arrive in the reverse of their order."""
    usual = InProcessGrid.send_and_receive

    def reverse():
        monkeypatch.setattr(
            InProcessGrid,
            "send_and_receive",
            lambda self, messages, *, timeout=None: list(usual(self, messages))[::-1],
        )

    return reverse


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_resumed_and_with_replies_in_another_order_a_run_ends_in_the_same_bytes(
    synthetic_run, finished, monkeypatch, late_first, strategy
):
    keys = {**SHORT, "strategy": strategy, "sites": max(3, least(strategy))}
    whole, summary = finished(**keys)
    assert (summary["status"], summary["quarantined"]) == ("complete", [])
    with killed_after(3, monkeypatch):
        synthetic_run("killed", **keys)
    late_first()
    folder, _ = synthetic_run("killed", resume=True, **keys)
    assert adaptors(folder) == adaptors(whole)
    assert (folder / "auroc.csv").read_bytes() == (whole / "auroc.csv").read_bytes()


@pytest.mark.parametrize("strategy", ["fedadam", "fedavgm"])
def test_what_the_server_remembers_is_in_the_checkpoint_and_lasts_along_the_stream(
    synthetic_run, monkeypatch, strategy
):
    keys = {"strategy": strategy, "stream_mean": True, "rounds": 2, "train__epochs": 1}
    whole, _ = synthetic_run("whole", **keys)
    with killed_after(6, monkeypatch):  # in the second experience
        synthetic_run("killed", **keys)
    tensors = load_file(max((whole / "checkpoints").glob("*.safetensors")))
    state = state_of(unflatten(tensors))
    assert {array.dtype for each in state.values() for array in each.values()} == {
        np.dtype(np.float64)
    }
    assert all(any(array.any() for array in each.values()) for each in state.values())
    folder, _ = synthetic_run("killed", resume=True, **keys)
    assert adaptors(folder) == adaptors(whole)


def test_what_the_server_remembers_is_no_adaptor_and_replaces_what_it_remembered():
    models = {"": constant(1), "north/site-1": constant(2)}
    before, now = {"a/b": constant(3), "c": constant(4)}, {"a/b": constant(5)}
    stored = unflatten(flatten(with_state(with_state(models, before), now)))
    assert set(adaptors_of(stored)) == set(models)
    assert set(state_of(stored)) == {"a/b"}
    assert (state_of(stored)["a/b"]["log_scale"] == 5).all()
    assert state_of(with_state(stored, {})) == {}


def test_the_strategies_learn_and_are_not_one_another(finished):
    ends = {}
    for strategy in APART:
        folder, summary = finished(strategy=strategy, train__epochs=2)
        assert summary["final_auroc"] > summary["zero_shot_auroc"]
        ends[adaptors(folder)] = strategy
    assert len(ends) == len(APART)


def test_where_all_sites_take_as_many_steps_fednova_is_fedavg(synthetic_run):
    keys = {**SHORT, "train__batch_size": 10_000}
    plain, _ = synthetic_run("plain", **keys)
    folder, _ = synthetic_run("nova", strategy="fednova", **keys)
    wanted = load(plain / "adaptors.safetensors")[1]
    for name, array in load(folder / "adaptors.safetensors")[1].items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-5, atol=1e-7)


def test_the_servers_control_variate_is_the_mean_of_what_the_sites_remember(synthetic_run):
    keys = {**SHORT, "strategy": "scaffold", "rounds": 3, "participation": 0.5, "sites": 4}
    folder, _ = synthetic_run(**keys)
    state = state_of(unflatten(load_file(max((folder / "checkpoints").glob("*.safetensors")))))
    last = {}
    for path in sorted((folder / "memory").glob("*/strategy-*.safetensors")):
        last[path.parent.name] = load_file(path)
    assert 2 <= len(last) <= 4
    for name, array in state["control"].items():
        wanted = sum(own[name].astype(float) for own in last.values()) / 4
        np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-6)
        assert array.any()


@pytest.mark.parametrize("steps", [0, 10**9])
def test_steps_that_nobody_can_take_are_quarantined(synthetic_run, steps):
    def app(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "train" and context.node_id == 2:
            reply.content["work"]["steps"] = steps
        return reply

    folder, summary = synthetic_run(client_app=app, strategy="fednova", **SHORT)
    rows = pd.read_csv(folder / "sites.csv").query("status == 'quarantined'")
    assert set(rows["site"]) == {"site-2"}
    assert f"steps is {steps}" in rows["reason"].iloc[0]
    assert summary["status"] == "complete"


def test_with_mu_of_zero_fedprox_is_fedavg_to_the_byte(synthetic_run):
    keys = {**SHORT, "train__epochs": 2}
    plain, _ = synthetic_run("plain", **keys)
    folder, _ = synthetic_run("prox", strategy="fedprox", aggregation__mu=0, **keys)
    assert adaptors(folder) == adaptors(plain)


def test_a_large_mu_holds_the_sites_where_they_began(synthetic_run):
    def moved(name, **keys):
        folder, _ = synthetic_run(name, **{**SHORT, "train__epochs": 5, **keys})
        first = load_file(folder / "checkpoints" / "step-00003.safetensors")
        last = load(folder / "adaptors.safetensors")[1]
        return sum(float(np.square(last[name] - first[name]).sum()) for name in last)

    free = moved("free")
    held = moved("held", strategy="fedprox", aggregation__mu=100, train__optimizer="sgd")
    assert held < free / 4


def test_a_strategy_adds_to_the_reply_what_its_site_part_lists_and_no_other_does(synthetic_run):
    records = {}

    def app(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "train":
            records.setdefault(context.run_config["strategy"], set()).update(reply.content)
        return reply

    for strategy in ("fedavg", "fedprox", "krum", "qfedavg"):
        synthetic_run(strategy, client_app=app, strategy=strategy, sites=5, **SHORT)
    assert records.pop("qfedavg") == {"adaptor", "metrics", "fairness"}
    assert set(map(frozenset, records.values())) == {frozenset({"adaptor", "metrics"})}


@pytest.mark.parametrize("loss", [-0.5, float("nan"), float("inf")])
def test_a_loss_of_which_there_is_no_power_is_quarantined(synthetic_run, loss):
    def app(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "train" and context.node_id == 2:
            reply.content["fairness"]["global-loss"] = loss
        return reply

    folder, summary = synthetic_run(client_app=app, strategy="qfedavg", **SHORT)
    rows = pd.read_csv(folder / "sites.csv").query("status == 'quarantined'")
    assert set(rows["site"]) == {"site-2"}
    assert "global-loss" in rows["reason"].iloc[0]
    assert summary["status"] == "complete"


def test_what_a_strategy_sends_goes_down_from_the_second_round_on(synthetic_run, monkeypatch):
    down = []

    def app(message, context):
        if message.metadata.message_type == "train" and context.node_id == 1:
            sent = take_apart(message.content)[0].items()
            down.append(
                {record: {each.dtype.name for each in held.values()} for record, held in sent}
            )
        return clients.app.app(message, context)

    traits = Traits(("server_lr", "momentum"), sends=("momentum",))
    monkeypatch.setitem(fedretune.strategies.STRATEGIES, "fedavgm", traits)
    synthetic_run(client_app=app, strategy="fedavgm", aggregation__server_lr=1.0, **SHORT)
    assert down == [{"adaptor": {"float32"}}, {"adaptor": {"float32"}, "momentum": {"float32"}}]


def refusing(rounds):
    """Return a client app in which two sites fail in these rounds."""

    def app(message, context):
        position = message.content.config_records.get("position", {})
        if (
            message.metadata.message_type == "train"
            and position["round"] in rounds
            and context.node_id in (1, 2)
        ):
            raise OSError("gone")
        return clients.app.app(message, context)

    return app


def test_a_round_with_too_few_sound_replies_says_so_and_the_run_can_be_resumed(
    synthetic_run, finished
):
    keys = {"strategy": "krum", "sites": 5, **SHORT}
    with pytest.raises(UserError, match=r"Only 3 of 5 .* round 1\), and strategy = krum needs 5"):
        synthetic_run(client_app=refusing([1]), **keys)
    folder, summary = synthetic_run(resume=True, **keys)
    assert summary["status"] == "complete"
    assert adaptors(folder) == adaptors(finished(**keys)[0])


def test_too_few_sites_in_some_experience_are_refused_before_training(synthetic_run):
    trained = []

    def app(message, context):
        trained.append(message.metadata.message_type)
        return clients.app.app(message, context)

    keys = {"schedule": "late-join", "join_at": 2, "late_sites": 0.5, "experiences": 3}
    with pytest.raises(
        UserError, match=r"needs at least 5 sites, and a round of experience 0 has 3"
    ):
        synthetic_run(client_app=app, strategy="krum", sites=6, **keys)
    assert set(trained) == {"query"}
