"""Whole runs of the two apps in one process, over vectors made for the test."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from flwr.common.serde import recorddict_to_proto

import clients.app
import server.stream
from fedretune.adaptors import load
from fedretune.errors import UserError
from server.folder import TABLES
from tests.records import arrays_of, change, packed
from tests.run_folders import FILES, Killed, adaptors, killed_after


def test_a_run_learns_and_leaves_every_file(synthetic_run):
    folder, summary = synthetic_run(train__lr=0.01, train__epochs=20)
    assert {path.name for path in folder.iterdir()} == FILES
    assert summary["status"] == "complete"
    assert summary["final_auroc"] > summary["zero_shot_auroc"] + 0.1
    assert summary["zero_shot_auroc"] == summary["untrained_auroc"]
    assert summary["quarantined"] == []
    for table, columns in TABLES.items():
        if columns:
            assert (folder / table).read_text().splitlines()[0] == ",".join(columns)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(synthetic_run, finished):
    assert finished()[1]["seed"] == 1
    first = adaptors(finished()[0])
    again, other = (adaptors(synthetic_run(str(seed), seed=seed)[0]) for seed in (1, 2))
    assert first == again
    assert first != other


def test_the_figures_of_the_summary_are_those_of_the_table(finished):
    folder, summary = finished(experiences=3)
    table = pd.read_csv(folder / "auroc.csv").query(
        "site == 'pooled' and scoring == 'difference' and model == 'adapted'"
    )
    a = table.pivot_table("auroc", "after_experience", "experience").loc[0:].to_numpy()
    assert summary["final_auroc"] == pytest.approx(a[-1].mean(), abs=1e-6)
    forgot = [max(0.0, a[e:-1, e].max() - a[-1, e]) for e in range(2)]
    assert summary["forgetting"] == pytest.approx(np.mean(forgot), abs=1e-5)


@pytest.mark.parametrize("step", [0, 1, 3, 4, 6, 7])
def test_a_killed_run_resumes_to_the_same_bytes(synthetic_run, finished, monkeypatch, step):
    whole, summary = finished(name="intact")  # a name as long: it is in each message
    with killed_after(step, monkeypatch):
        synthetic_run("killed")
    folder, resumed = synthetic_run("killed", resume=True)
    assert adaptors(folder) == adaptors(whole)
    assert (folder / "auroc.csv").read_bytes() == (whole / "auroc.csv").read_bytes()
    same = set(summary) - {"wall_seconds", "bytes_up", "bytes_down"}
    assert {key: resumed[key] for key in same} == {key: summary[key] for key in same}


def test_resuming_with_another_config_names_the_difference(synthetic_run, monkeypatch):
    monkeypatch.setattr(server.stream.Stream, "run", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        synthetic_run()
    with pytest.raises(UserError, match=r"train.lr was 0.0005 and is 0.5"):
        synthetic_run(resume=True, train__lr=0.5)


def test_resuming_a_finished_run_is_refused(synthetic_run):
    synthetic_run()
    with pytest.raises(UserError, match="finished"):
        synthetic_run(resume=True)


def spoiling(site: str, spoil):
    """Return a client app in which the training replies of one site are spoilt on the way."""

    def app(message, context):
        reply = clients.app.app(message, context)
        name = clients.app.open_site(context).name
        if name == site and message.metadata.message_type == "train":
            spoil(reply.content)
        return reply

    return app


def _nan(content):
    change(content, "adaptor", lambda name, array: np.full_like(array, np.nan))


def _weight(content):
    content["metrics"]["num-examples"] = 10**12


def _no_weight(content):
    content["metrics"]["num-examples"] = 0


def _stale(content):
    content["metrics"]["round"] = 7


def _key(content):
    more = {**arrays_of(content, "adaptor"), "other": np.zeros(1, np.float32)}
    content["adaptor"] = packed(more)


def _positives(content):
    change(content, "counts", lambda name, array: np.full(3, 10**9, np.uint32))


def _empty(content):
    content.clear()


def _negative_loss(content):
    content["metrics"]["loss"] = -0.1


def _absurd(content):
    change(content, "adaptor", lambda name, array: np.full_like(array, 1e30))


SPOILS = [_nan, _weight, _no_weight, _stale, _key, _empty, _positives, _negative_loss, _absurd]


@pytest.mark.parametrize("spoil", SPOILS)
def test_an_unsound_reply_is_left_out_listed_and_ends_nothing(synthetic_run, spoil):
    folder, summary = synthetic_run(
        "spoilt", client_app=spoiling("site-2", spoil), averaging="positives"
    )
    listed = {(each["site"], each["status"]): each["times"] for each in summary["quarantined"]}
    assert listed == {("site-2", "quarantined"): 3, ("site-2", "aside"): 1}
    assert all(
        np.isfinite(array).all() for array in load(folder / "adaptors.safetensors")[1].values()
    )


def test_below_the_quorum_the_run_ends_with_a_reason_and_can_be_resumed(synthetic_run, finished):
    def raising(message, context):
        if message.metadata.message_type == "train":
            raise OSError("gone")
        return clients.app.app(message, context)

    with pytest.raises(UserError, match="0 of 3 sites"):
        synthetic_run(client_app=raising)
    folder, summary = synthetic_run(resume=True)
    assert summary["status"] == "complete"
    assert adaptors(folder) == adaptors(finished()[0])


def test_a_site_with_another_backbone_is_put_aside_with_the_reason(synthetic_run):
    def odd(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "query" and context.node_id == 2:
            reply.content["site"]["backbone"] = "f" * 64
        return reply

    folder, summary = synthetic_run(client_app=odd)
    assert summary["sites"] == ["site-1", "site-3"]
    rows = list(csv.DictReader((folder / "sites.csv").open()))
    assert [row["reason"] for row in rows if row["status"] == "aside"] == [
        "backbone is ffffffffffffffffffff, not 00000000000000000000"
    ]


def test_what_leaves_a_site_is_the_adaptor_and_counts_and_no_vector(synthetic_run, tmp_path):
    """Every reply, serialized: small, and none of 50 planted rows is in it."""
    sent = {"train": [], "evaluate": [], "query": []}
    worlds = []

    def recording(message, context):
        reply = clients.app.app(message, context)
        kind = message.metadata.message_type.split(".")[0]
        sent[kind].append(recorddict_to_proto(reply.content).SerializeToString())
        worlds.append(clients.app.open_site(context).world)
        return reply

    folder, _ = synthetic_run(client_app=recording)
    spec = worlds[0].adaptor
    adaptor = sum(4 * int(np.prod(shape)) for shape, _ in spec.tensors().values())
    assert max(map(len, sent["train"])) <= adaptor + 4096
    assert max(map(len, sent["evaluate"])) <= 64 * 1024
    vectors = worlds[0].embeddings.vectors[:50]
    planted = [row.astype(kind).tobytes() for row in vectors for kind in (np.float16, np.float32)]
    assert [n for messages in sent.values() for m in messages for n in planted if n in m] == []
    rows = pd.read_csv(folder / "traffic.csv").query("direction == 'up'")
    assert rows["bytes"].sum() == sum(len(m) for messages in sent.values() for m in messages)


def test_a_site_that_joins_late_sits_out_until_then_and_is_listed(synthetic_run):
    folder, summary = synthetic_run(schedule="late-join", experiences=3, join_at=2)
    rows = pd.read_csv(folder / "sites.csv").query("status == 'no-images'")
    assert summary["status"] == "complete"
    assert set(rows["experience"]) == {0}
    assert 1 <= rows["site"].nunique() < 3


def test_events_are_one_json_object_a_line(finished):
    folder, _ = finished()
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[:4] == ["joined"] * 3 + ["start"]
    assert all(sum(event["train"]) > 0 for event in events[:3])
    assert kinds.count("round") == 4
    assert kinds[-1] == "end"


@pytest.mark.parametrize("step", [None, 3])
def test_a_round_tells_all_bytes_so_far_those_before_a_resume_included(
    synthetic_run, monkeypatch, step
):
    if step is not None:
        with killed_after(step, monkeypatch):
            synthetic_run()
    folder, _ = synthetic_run(resume=step is not None)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    last = [event for event in map(json.loads, lines) if event["event"] == "round"][-1]
    traffic = pd.read_csv(folder / "traffic.csv")
    trained = traffic.index[traffic["kind"] == "train"].max()
    sums = traffic.loc[:trained].groupby("direction")["bytes"].sum()
    assert (last["bytes_up"], last["bytes_down"]) == (sums["up"], sums["down"])


@pytest.mark.parametrize("averaging", ["examples", "equal"])
def test_sites_weigh_by_their_examples_or_all_the_same(synthetic_run, averaging):
    told = []

    def told_by(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "train":
            examples = reply.content["metrics"]["num-examples"]
            told.append((examples, dict(arrays_of(reply.content, "adaptor"))))
        return reply

    folder, _ = synthetic_run(
        client_app=told_by, averaging=averaging, experiences=1, rounds=1, partition="dirichlet"
    )
    weights = [examples if averaging == "examples" else 1 for examples, _ in told]
    assert len({examples for examples, _ in told}) > 1
    for name, array in load(folder / "adaptors.safetensors")[1].items():
        mean = np.average([adaptor[name] for _, adaptor in told], axis=0, weights=weights)
        np.testing.assert_allclose(array, mean, rtol=1e-5, atol=1e-7)
