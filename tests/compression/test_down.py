"""The way down: whole runs whose sites come to the global adaptor by updates of one they hold."""

import numpy as np
import pandas as pd
import pytest
from flwr.app import ConfigRecord
from hypothesis import given, settings
from hypothesis import strategies as st

import clients.app
from fedretune.adaptors import AdaptorSpec, load
from fedretune.compression import COMPRESSIONS, UnsoundError, compression_of
from fedretune.compression.chain import FIRST, OTHER_BASE, fingerprint, first_adaptor, follow
from fedretune.errors import UserError
from scenarios import RunConfig
from server.down import Down, Holdings
from server.models import GLOBAL
from server.steps import Step
from tests.records import arrays_of, change
from tests.run_folders import adaptors, killed_after

SPEC = AdaptorSpec("mlp", "double", 4, False, "learnable")
SHARE = 0.2


def training_bytes(folder):
    """Return the bytes of each training message that the server sent, in order."""
    rows = pd.read_csv(folder / "traffic.csv")
    return rows.query("kind == 'train' and direction == 'down'")["bytes"].tolist()


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_the_global_adaptor_travels_in_fewer_bytes_and_resumes_to_the_same(
    synthetic_run, monkeypatch, name
):
    plain, _ = synthetic_run("plain")
    keys = {"compression": name, "compression_down": name, "rounds": 3}
    keys |= {"compression_share": SHARE, "compression_down_share": SHARE}
    whole, summary = synthetic_run("whole", **keys)
    assert summary["quarantined"] == []
    assert max(training_bytes(whole)) < min(training_bytes(plain))
    assert summary["bytes_down_per_site_round"] == np.mean(training_bytes(whole)).round(1)
    with killed_after(5, monkeypatch):
        synthetic_run("ended", **keys)
    folder, _ = synthetic_run("ended", resume=True, **keys)
    assert adaptors(folder) == adaptors(whole)
    assert (folder / "auroc.csv").read_bytes() == (whole / "auroc.csv").read_bytes()
    assert training_bytes(folder) == training_bytes(whole)


@pytest.mark.parametrize(
    "keys",
    [
        {"method": "offsets", "averaging": "positives"},
        {"method": "linear-probe+ewc"},
        {"method": "joint"},
        {"stream_mean": True, "strategy": "scaffold"},
        {"secure_aggregation": True},
        {"batched": "always"},
    ],
    ids=lambda keys: "-".join(map(str, keys.values())),
)
def test_what_else_a_run_does_is_none_of_its_concern(synthetic_run, keys):
    _, summary = synthetic_run(compression_down="int8", **keys)
    assert summary["status"] == "complete"
    assert summary["quarantined"] == []


def test_sites_that_miss_rounds_follow_and_workers_change_no_byte(synthetic_run):
    keys = {"compression_down": "lowrank", "rounds": 4, "participation": 0.5}
    one, summary = synthetic_run("one", **keys)
    two, _ = synthetic_run("two", workers=2, **keys)
    assert summary["quarantined"] == []
    assert adaptors(one) == adaptors(two)
    assert sorted(training_bytes(one)) == sorted(training_bytes(two))


def test_almost_without_loss_a_run_ends_where_the_plain_one_does(synthetic_run):
    plain, _ = synthetic_run("plain")
    folder, _ = synthetic_run("int8", compression_down="int8")
    for each, array in load(folder / "adaptors.safetensors")[1].items():
        wanted = load(plain / "adaptors.safetensors")[1][each]
        np.testing.assert_allclose(array, wanted, atol=2e-3)


def test_a_site_that_has_lost_what_it_held_says_so_and_is_sent_the_whole_adaptor(synthetic_run):
    asked = []

    def app(message, context):
        if message.metadata.message_type == "train" and context.node_id == 2:
            asked.append("adaptor" in message.content.array_records)
            if len(asked) == 2:
                told = dict(message.content.config_records["base"])
                message.content["base"] = ConfigRecord({**told, "adaptor": "0" * 16})
        return clients.app.app(message, context)

    folder, summary = synthetic_run(client_app=app, compression_down="int8", rounds=4)
    assert asked[:4] == [False, False, True, False]
    rows = pd.read_csv(folder / "sites.csv").query("status == 'refused'")
    assert list(rows["reason"]) == [OTHER_BASE]
    assert summary["status"] == "complete"


def test_a_site_that_begins_with_another_adaptor_is_sent_the_whole_one(synthetic_run):
    whole = []

    def app(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "query" and context.node_id == 2:
            reply.content["first"] = ConfigRecord({"first": "0" * 16})
        if message.metadata.message_type == "train" and context.node_id == 2:
            whole.append("adaptor" in message.content.array_records)
        return reply

    _, summary = synthetic_run(client_app=app, compression_down="int8")
    assert whole == [True, False, False, False]
    assert summary["quarantined"] == []


def _infinite(name, array):
    return np.full_like(array, np.inf) if name == "scales" else array


def _other_values(name, array):
    return array if name == "scales" else array[::-1].copy()


def _other_shape(name, array):
    return array[:-1].copy()


@pytest.mark.parametrize("spoil", [_infinite, _other_values, _other_shape])
def test_nothing_is_trained_from_an_unsound_update(synthetic_run, spoil):
    seen = []

    def app(message, context):
        sent = message.content.array_records
        mine = context.node_id == 2 and message.metadata.message_type == "train"
        if mine and "update-1" in sent and not seen:
            seen.append(arrays_of(message.content, "update-1"))
            change(message.content, "update-1", spoil)
        return clients.app.app(message, context)

    folder, summary = synthetic_run(client_app=app, compression_down="int8")
    rows = pd.read_csv(folder / "sites.csv").query("status == 'refused'")
    assert len(seen) == len(rows) == 1
    assert rows["reason"].iloc[0].startswith("refused; the server's update is unsound")
    assert summary["status"] == "complete"


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(COMPRESSIONS)),
    rounds=st.lists(st.sets(st.integers(0, 2)), min_size=1, max_size=12),
)
def test_every_site_comes_to_the_servers_adaptor_whatever_rounds_it_missed(name, rounds):
    compression, holdings = compression_of(name, SPEC, 0.1), Holdings()
    rng, models = np.random.default_rng(0), {GLOBAL: first_adaptor(SPEC, 1)}
    held = [{FIRST: models[GLOBAL]} for _ in range(3)]
    down = Down(compression, fingerprint(models[GLOBAL]), holdings.of)
    for number, there in enumerate(rounds):
        step = Step("train", number // 4, number % 4)
        for site in there:
            base_of = down.followed_from(models, str(site))
            if base_of is None:
                received = models[GLOBAL]
            else:
                parcel = down.parcel(models, base_of)
                updates, wanted = list(parcel.arrays.values()), str(parcel.told["result"])
                base = held[site][base_of]
                assert fingerprint(base) == parcel.told["adaptor"]
                received = follow(compression, base, updates, wanted)
            for key, array in models[GLOBAL].items():
                np.testing.assert_array_equal(received[key], array)
            held[site][step.experience, step.round] = received
            holdings.note(str(site), (step.experience, step.round), "trained", "")
        moved = {
            key: array + rng.standard_normal(array.shape).astype(np.float32)
            for key, array in models[GLOBAL].items()
        }
        models = down.encoded(models, {**models, GLOBAL: moved}, step)
    chained = sum(
        x.nbytes for owner, each in models.items() if "down/" in owner for x in each.values()
    )
    assert chained <= 4 * compression.length + 8 * len(rounds)


def test_what_an_encoding_loses_is_sent_later():
    compression = compression_of("topk", SPEC, 0.1)
    models = {GLOBAL: first_adaptor(SPEC, 1)}
    first, rng, moves = models[GLOBAL], np.random.default_rng(0), []
    down = Down(compression, "", lambda site: FIRST)
    for round_ in range(5):
        moves.append({key: rng.standard_normal(each.shape) for key, each in first.items()})
        moved = {key: (x + moves[-1][key]).astype("f4") for key, x in models[GLOBAL].items()}
        models = down.encoded(models, {**models, GLOBAL: moved}, Step("train", 0, round_))
    left = compression.split(models["@down-left"]["residual"])
    for key, start in first.items():
        arrived = models[GLOBAL][key] - start + left[key].reshape(start.shape)
        np.testing.assert_allclose(arrived, sum(each[key] for each in moves), atol=1e-4)


def test_updates_to_another_adaptor_than_is_wanted_are_refused():
    start = first_adaptor(SPEC, 1)
    with pytest.raises(UnsoundError, match="another adaptor"):
        follow(compression_of("int8", SPEC, 1.0), start, [], "0" * 16)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"compression-down": "int9"}, "compression-down 'int9'"),
        ({"method": "local"}, "method 'local' there is none"),
        ({"method": "lora"}, "adaptor.averaging = exact"),
        ({"attack": "sign-flip", "attackers": 1}, "attacks are on whole adaptors"),
    ],
)
def test_what_makes_no_sense_with_it_is_refused(keys, said):
    with pytest.raises(UserError, match=said):
        RunConfig.from_flat({"sites": 4, "compression-down": "int8", **keys})
