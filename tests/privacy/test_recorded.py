"""A run that keeps what was on the wire."""

import csv

import numpy as np
import pytest
from flwr.common.serde import recorddict_from_proto
from flwr.proto.recorddict_pb2 import RecordDict as RecordDictProto

from fedretune import wire
from fedretune.adaptors import load
from fedretune.errors import UserError
from fedretune.privacy.recorded import recorded
from tests.run_folders import adaptors, killed_after


def test_every_message_is_kept_as_it_was_serialized_and_is_as_long_as_the_ledger_says(
    synthetic_run,
):
    folder, _ = synthetic_run(record_wire=True)
    messages = recorded(folder)
    with (folder / "traffic.csv").open() as file:
        ledger = list(csv.DictReader(file))
    told = sorted((row["site"], row["kind"], row["direction"], int(row["bytes"])) for row in ledger)
    kept = sorted((m.site, m.kind, m.direction, len(m.content())) for m in messages)
    assert kept == told
    plain, _ = synthetic_run("plain")
    assert adaptors(folder) == adaptors(plain)
    assert not (plain / "wire").exists()


def test_arrays_and_scalars_are_those_of_the_bytes(synthetic_run):
    folder, _ = synthetic_run(record_wire=True, workers=2)
    for message in recorded(folder):
        content = recorddict_from_proto(RecordDictProto.FromString(message.content()))
        arrays, scalars = wire.take_apart(content)
        assert {record: dict(values) for record, values in scalars.items()} == message.scalars()
        found = message.arrays()
        assert {r: set(held) for r, held in found.items()} == {
            r: set(held) for r, held in arrays.items() if held
        }
        for record, held in found.items():
            for name, array in held.items():
                np.testing.assert_array_equal(array, arrays[record][name])


def test_the_last_rounds_replies_average_to_the_final_adaptor(synthetic_run):
    folder, _ = synthetic_run(record_wire=True)
    last = [m for m in recorded(folder) if (m.kind, m.direction) == ("train", "up")][-3:]
    assert {(m.experience, m.round) for m in last} == {(1, 1)}
    weights = [m.scalars()["metrics"]["num-examples"] for m in last]
    for name, array in load(folder / "adaptors.safetensors")[1].items():
        mean = np.average([m.arrays()["adaptor"][name] for m in last], axis=0, weights=weights)
        np.testing.assert_allclose(array, mean, atol=1e-6)


def test_a_resumed_run_keeps_what_left_before_and_after(synthetic_run, monkeypatch, tmp_path):
    with killed_after(3, monkeypatch):
        synthetic_run("cut", record_wire=True)
    before = {each.path.name for each in recorded(tmp_path / "cut")}
    folder, _ = synthetic_run("cut", record_wire=True, resume=True)
    after = {each.path.name for each in recorded(folder)}
    assert before < after
    rounds = [(m.experience, m.round) for m in recorded(folder) if m.kind == "train"]
    assert set(rounds) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_run_that_kept_nothing_says_how_to(synthetic_run):
    folder, _ = synthetic_run()
    with pytest.raises(UserError, match="record-wire=true"):
        recorded(folder)
