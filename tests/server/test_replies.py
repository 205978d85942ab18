"""Whatever a site answers, it is read without an exception, and only what is sound is used."""

import json
import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as RecordDictProto
from hypothesis import given
from hypothesis import strategies as st

from fedretune import wire
from server.exchange import UNREADABLE
from server.handshake import Member
from server.replies import Reply, read, sort_out
from server.simulator import take_identity
from tests.records import packed

SCHEMA = wire.Schema(
    arrays={
        "adaptor": {"w": wire.Tensor((2, 3), ("float32",)), "b": wire.Tensor((2,), ("float32",))},
        "counts": {"positives": wire.Tensor((2,), ("uint16", "uint32", "uint64"))},
    },
    scalars={"metrics": {"experience": int, "round": int, "num-examples": int, "loss": float}},
)
B = np.zeros(2, np.float32)
POSITION, MEMBER = (1, 2), Member(7, (10, 20), (5, 5))
METRICS = {"experience": 1, "round": 2, "num-examples": 20, "loss": 0.5}


@pytest.fixture(autouse=True, scope="module")
def identity():
    take_identity()


def sound():
    """Return the content of a sound training reply."""
    adaptor = packed({"w": np.ones((2, 3), np.float32), "b": B})
    counts = packed({"positives": np.array([3, 20], np.uint16)})
    return RecordDict(
        {
            "adaptor": adaptor,
            "counts": counts,
            "metrics": MetricRecord(dict(METRICS)),
        }
    )


def message(content):
    return Message(content, 7, "train")


def reading(content, schema=SCHEMA, position=POSITION):
    return read(message(content), schema, position, MEMBER)


def test_a_sound_reply_is_read():
    reply = reading(sound())
    assert isinstance(reply, Reply)
    assert reply.scalars["metrics"] == METRICS
    assert np.array_equal(reply.arrays["adaptor"]["w"], np.ones((2, 3)))


VALUES = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.text(max_size=300)
    | st.binary(max_size=10)
    | st.lists(st.integers() | st.floats(), max_size=5)
)


class Metrics(dict):
    """Stands where a record stands: Flower's own refuse some of what a network cannot carry."""


@given(st.sampled_from([*METRICS, "other", "\ud800"]), VALUES)
def test_a_lie_in_a_scalar_is_no_reply_or_a_true_one(name, value):
    content = sound()
    metrics = {**METRICS, name: value}
    record = type("Content", (), {})()
    record.array_records = content.array_records
    record.metric_records = {"metrics": Metrics(metrics)}
    record.config_records = {}
    told = type("Told", (), {"content": record, "has_error": lambda self: False})()
    found = read(told, SCHEMA, POSITION, MEMBER)
    if isinstance(found, Reply):
        assert set(metrics) == set(METRICS)
        assert metrics["experience"] == 1
        assert metrics["round"] == 2
        assert type(metrics["num-examples"]) is int
        assert 1 <= metrics["num-examples"] <= 20
        assert 0 <= metrics["loss"] < math.inf
    else:
        assert found.status == "quarantined"
        assert found.reason.isprintable()


LIES = {
    "nan": ("loss", math.nan),
    "negative": ("loss", -1e-9),
    "huge": ("loss", 1e30),
    "loss as int": ("loss", 1),
    "bool": ("num-examples", True),
    "too many": ("num-examples", 21),
    "beyond 64 bits": ("num-examples", 2**70),
    "other round": ("round", 1),
    "other experience": ("experience", 0),
}


@pytest.mark.parametrize("lie", LIES)
def test_each_of_these_lies_is_caught(lie):
    name, value = LIES[lie]
    content = sound()
    content["metrics"] = ConfigRecord({**METRICS, name: value})
    assert reading(content).status == "quarantined"


RECORDS = {
    "a shape that is another": packed({"w": np.ones((3, 2), np.float32), "b": B}),
    "an axis more": packed({"w": np.ones((1, 2, 3), np.float32), "b": B}),
    "a dtype that is another": packed({"w": np.ones((2, 3), np.uint16), "b": B}),
    "not a number": packed({"w": np.full((2, 3), np.nan, np.float32), "b": B}),
    "one missing": packed({"b": B}),
    "one more": packed({"w": np.ones((2, 3), np.float32), "b": B, "x": B}),
    "numpy's own": ArrayRecord({"w": Array(np.ones((2, 3), np.float32)), "b": Array(B)}),
    "pickle": ArrayRecord({wire.PACKED: Array("uint8", (3,), "numpy.pickle", b"cos")}),
    "nothing": ArrayRecord(),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_each_of_these_records_is_caught(kind):
    content = sound()
    content["adaptor"] = RECORDS[kind]
    assert reading(content).status == "quarantined"


SHAPES = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 4), max_size=6)
DTYPES = st.sampled_from(["float32", "uint16", "float64", "O", "<f4", "S8", "float32 "]) | st.text()


@given(SHAPES, DTYPES, st.binary(max_size=64), st.sampled_from([wire.ENCODING, "numpy.ndarray"]))
def test_a_record_of_any_header_and_bytes_is_caught_or_as_announced(shape, dtype, data, stype):
    listed = [["w", dtype, shape], ["b", "float32", [2]]]
    header = json.dumps(listed, separators=(",", ":")).encode()
    header += b" " * (-(4 + len(header)) % 8)
    whole = len(header).to_bytes(4, "little") + header + data
    content = sound()
    content["adaptor"] = ArrayRecord({wire.PACKED: Array("uint8", (len(whole),), stype, whole)})
    found = reading(content)
    if isinstance(found, Reply):
        assert (shape, dtype, len(data)) == ([2, 3], "float32", 32)
        assert np.isfinite(found.arrays["adaptor"]["w"]).all()
    else:
        assert found.status == "quarantined"


SERIAL = st.lists(
    st.tuples(st.integers(0), st.integers(0, 255), st.sampled_from(["set", "cut", "add"]))
)


def mutated(data, changes):
    """Return bytes of which some were set, cut off from or put in between."""
    data = bytearray(data)
    for at, value, how in changes:
        at %= len(data) + 1
        if how == "set":
            data[at : at + 1] = bytes([value])
        elif how == "cut":
            data = data[:at] + data[at + value :]
        else:
            data[at:at] = bytes([value]) * (1 + value % 9)
    return bytes(data)


@given(SERIAL)
def test_a_serialized_reply_with_any_bytes_altered_is_read_without_an_exception(changes):
    data = mutated(recorddict_to_proto(sound()).SerializeToString(), changes)
    try:
        content = recorddict_from_proto(RecordDictProto.FromString(data))
    except UNREADABLE:  # it is no message: Flower cannot read it, and `exchange` says so
        return
    found = reading(content)
    if isinstance(found, Reply):
        for tensor in found.arrays["adaptor"].values():
            assert tensor.dtype == np.float32
            assert np.isfinite(tensor).all()
        assert found.arrays["counts"]["positives"].max() <= 20
    else:
        assert found.status in ("quarantined", "refused")


def test_counts_of_more_scores_than_images_are_caught():
    shape = (2, 2, 3, 2, 4)  # rules, experiences, findings, labels, bins
    schema = wire.Schema(
        arrays={"histogram": {"counts": wire.Tensor(shape, ("uint64",))}},
        scalars={"metrics": {"experience": int, "num-examples": int}},
    )
    counts = np.zeros(shape, np.uint64)
    counts[:, :, :, 0, 1] = 5
    metrics = MetricRecord({"experience": 1, "num-examples": 10})

    def answer():
        held = packed({"counts": counts})
        return reading(RecordDict({"histogram": held, "metrics": metrics}), schema, (1, -1))

    assert isinstance(answer(), Reply)
    counts[1, 1, 2, 1, 3] = 1
    assert "11 scores of a finding among 10 examples" in answer().reason
    counts[1, 1, 2, 1, 3] = 2**64 - 1
    assert "scores of a finding among 10 examples" in answer().reason


def test_a_refusals_reason_is_printable():
    refusal = RecordDict({"refusal": ConfigRecord({"reason": "no\x1b[31m\nway\udc80"})})
    assert reading(refusal) == reading(refusal)
    assert (reading(refusal).status, reading(refusal).reason) == ("refused", "no?[31m?way?")


@pytest.mark.parametrize(("code", "status"), [(5, "silent"), (3, "silent"), (8, "failed")])
def test_an_error_is_a_node_that_is_gone_or_one_that_failed(code, status):
    reply = Message(Error(code, "reason"), reply_to=message(RecordDict()))
    assert read(reply, SCHEMA, POSITION, MEMBER).status == status


def asked(number, node):
    made = Message(RecordDict(), node, "train")
    vars(made.metadata)["_message_id"] = number
    return made


def reply_to(made, node=None):
    reply = Message(RecordDict(), reply_to=made)
    if node is not None:
        vars(reply.metadata)["_src_node_id"] = node
    return reply


@given(st.permutations(range(6)))
def test_replies_are_sorted_out_whatever_the_order_of_arrival(order):
    messages = {"a": asked("1", 7), "b": asked("2", 8), "c": asked("3", 9)}
    gone = Message(Error(5, "gone"), reply_to=messages["c"])
    vars(gone.metadata)["_src_node_id"] = 1  # as the SuperLink's own
    old, first, again = asked("0", 8), reply_to(messages["a"]), reply_to(messages["a"])
    forged = reply_to(messages["b"], node=7)
    replies = [first, again, reply_to(messages["b"]), gone, reply_to(old), forged]
    arrived = sort_out(messages, [replies[i] for i in order])
    assert set(arrived.first) == {"a", "b", "c"}
    assert arrived.first["c"] is gone
    assert arrived.strays == {8: 1, 7: 1}
    assert arrived.repeated == {"a": 1}
