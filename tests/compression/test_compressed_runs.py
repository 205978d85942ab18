"""Whole runs with each compression, in one process, over vectors made for the test."""

import numpy as np
import pandas as pd
import pytest

import clients.app
from fedretune.adaptors import load
from fedretune.compression import COMPRESSIONS
from tests.records import arrays_of, packed
from tests.run_folders import adaptors, killed_after


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_compressed_run_sends_less_and_resumes_to_the_same_bytes(
    synthetic_run, monkeypatch, name
):
    plain = synthetic_run("plain")[1]
    keys = {"compression": name, "compression_share": 0.2, "rounds": 3}
    whole, summary = synthetic_run("whole", **keys)
    assert summary["quarantined"] == []
    assert summary["bytes_up_per_site_round"] < plain["bytes_up_per_site_round"]
    with killed_after(5, monkeypatch):
        synthetic_run("killed", **keys)
    folder, _ = synthetic_run("killed", resume=True, **keys)
    assert adaptors(folder) == adaptors(whole)
    assert (folder / "auroc.csv").read_bytes() == (whole / "auroc.csv").read_bytes()


@pytest.mark.parametrize("method", ["local", "offsets", "linear-probe+ewc", "joint"])
def test_every_arrangement_and_adaptor_can_be_compressed(synthetic_run, method):
    _, summary = synthetic_run(compression="topk", method=method, averaging="positives")
    assert summary["status"] == "complete"
    assert summary["quarantined"] == []


def test_compressed_without_loss_of_note_a_run_ends_where_the_plain_one_does(synthetic_run):
    plain, _ = synthetic_run("plain")
    for name in ("bf16", "int8"):
        folder, _ = synthetic_run(name, compression=name)
        for each, array in load(folder / "adaptors.safetensors")[1].items():
            wanted = load(plain / "adaptors.safetensors")[1][each]
            np.testing.assert_allclose(array, wanted, atol=2e-4)


def test_without_compression_the_adaptor_leaves_and_nothing_is_remembered(synthetic_run):
    records = []

    def app(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "train":
            records.append(set(reply.content.array_records))
        return reply

    folder, _ = synthetic_run(client_app=app)
    assert records == [{"adaptor"}] * 12
    assert not (folder / "memory").exists()


def _infinite_scale(update):
    scales = update["scales"].copy()
    scales[0] = np.inf
    return {"scales": scales}


def _huge_scale(update):
    return {
        "scales": np.full_like(update["scales"], 3e38),
        "values": np.full_like(update["values"], 127),
    }


def _least_value(update):
    return {"values": np.full_like(update["values"], -128)}


def _the_adaptor_itself(update):
    return {"adaptor": np.zeros(4, np.float32)}


@pytest.mark.parametrize("spoil", [_infinite_scale, _huge_scale, _least_value, _the_adaptor_itself])
def test_an_unsound_update_is_left_out_listed_and_ends_nothing(synthetic_run, spoil):
    def app(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "train" and context.node_id == 2:
            update = arrays_of(reply.content, "update")
            reply.content["update"] = packed({**update, **spoil(update)})
        return reply

    folder, summary = synthetic_run(client_app=app, compression="int8")
    rows = pd.read_csv(folder / "sites.csv").query("status == 'quarantined'")
    assert list(rows["site"]) == ["site-2"] * 3  # and then it is put aside
    assert summary["status"] == "complete"
    arrays = load(folder / "adaptors.safetensors")[1].values()
    assert all(np.isfinite(array).all() for array in arrays)
