import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedretune import wire
from fedretune.adaptors import AdaptorSpec, build, to_arrays

SPEC = AdaptorSpec("linear", "double", 4, True, "learnable")
METRICS = {"experience": 0, "round": 1, "num-examples": 10, "loss": 0.5}


def reply():
    return {"adaptor": to_arrays(build(SPEC, 0))}, {"metrics": dict(METRICS)}


def test_a_training_reply_of_the_adaptor_and_its_numbers_may_leave():
    assert wire.check(wire.train_schema(SPEC), *reply()) is None


def _first(arrays):
    return next(iter(arrays["adaptor"]))


def _extra_record(arrays, scalars):
    arrays["images"] = {"batch": np.zeros((2, 8, 8), np.float32)}


def _extra_array(arrays, scalars):
    arrays["adaptor"]["embedding"] = np.zeros(4, np.float32)


def _missing_array(arrays, scalars):
    del arrays["adaptor"][_first(arrays)]


def _wider(arrays, scalars):
    name = _first(arrays)
    arrays["adaptor"][name] = np.concatenate([arrays["adaptor"][name]] * 2)


def _double(arrays, scalars):
    name = _first(arrays)
    arrays["adaptor"][name] = arrays["adaptor"][name].astype(np.float64)


def _nan(arrays, scalars):
    arrays["adaptor"][_first(arrays)][...] = np.nan


def _extra_scalar(arrays, scalars):
    scalars["metrics"]["patient"] = 1234567


def _text_for_a_number(arrays, scalars):
    scalars["metrics"]["loss"] = "patient 1234567"


def _switch_for_a_number(arrays, scalars):
    scalars["metrics"]["num-examples"] = True


def _infinite_loss(arrays, scalars):
    scalars["metrics"]["loss"] = float("inf")


@pytest.mark.parametrize(
    "spoil",
    [
        _extra_record,
        _extra_array,
        _missing_array,
        _wider,
        _double,
        _nan,
        _extra_scalar,
        _text_for_a_number,
        _switch_for_a_number,
        _infinite_loss,
    ],
)
def test_nothing_else_may_leave(spoil):
    arrays, scalars = reply()
    spoil(arrays, scalars)
    with pytest.raises(wire.WireError) as error:
        wire.check(wire.train_schema(SPEC), arrays, scalars)
    assert "1234567" not in str(error.value)


def test_a_long_text_may_not_leave_even_where_a_text_may():
    wire.check(wire.REFUSAL, {}, {"refusal": {"reason": "no images"}})
    with pytest.raises(wire.WireError, match="longer than"):
        wire.check(wire.REFUSAL, {}, {"refusal": {"reason": "x" * (wire.MAX_TEXT + 1)}})


def test_an_evaluation_reply_is_counts_and_no_scores():
    schema = wire.histogram_schema(experiences=2, findings=3, bins=10)
    metrics = {"metrics": {"experience": 0, "num-examples": 5}}
    counts = np.zeros((2, 2, 3, 2, 10), np.uint16)
    wire.check(schema, {"histogram": {"counts": counts}}, metrics)
    with pytest.raises(wire.WireError, match="float32"):
        wire.check(schema, {"histogram": {"counts": counts.astype(np.float32)}}, metrics)


ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.uint16, np.uint32, np.uint64, ">f4"]),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
)


NAMES = st.text(max_size=5)
RECORDS = st.dictionaries(NAMES, ARRAYS, max_size=4)


def held(arrays, **changes):
    """Return a record as Flower holds it."""
    values = zip(("dtype", "shape", "stype", "data"), wire.pack(arrays), strict=True)
    return {wire.PACKED: SimpleNamespace(**{**dict(values), **changes})}


@given(arrays=RECORDS, transpose=st.booleans())
def test_a_record_is_unpacked_to_the_arrays_that_were_packed(arrays, transpose):
    arrays = {name: each.T if transpose else each for name, each in arrays.items()}
    unpacked = wire.unpack("r", held(arrays))
    assert list(unpacked) == list(arrays)
    for name, array in arrays.items():
        assert (unpacked[name].shape, unpacked[name].dtype.name) == (array.shape, array.dtype.name)
        np.testing.assert_array_equal(unpacked[name], array)
        assert not unpacked[name].flags.writeable
        assert unpacked[name].ctypes.data % unpacked[name].itemsize == 0


@given(arrays=RECORDS)
def test_the_values_are_numpys_little_endian_bytes_and_all_else_is_a_header(arrays):
    dtype, shape, stype, data = wire.pack(arrays)
    assert (dtype, shape, stype) == ("uint8", (len(data),), wire.ENCODING)
    written = [each.astype(each.dtype.newbyteorder("<")).tobytes() for each in arrays.values()]
    assert data.endswith(b"".join(each + bytes(-len(each) % 8) for each in written))
    header = data[: len(data) - sum(len(each) + -len(each) % 8 for each in written)]
    assert [name for name, _, _ in json.loads(header[4:])] == list(arrays)


@given(arrays=RECORDS)
def test_what_was_unpacked_is_packed_as_the_bytes_that_it_was_read_from(arrays):
    record = held(arrays)
    unpacked = wire.unpack("r", record)
    if unpacked:
        assert wire.pack(unpacked)[3] is record[wire.PACKED].data
    assert wire.pack(unpacked)[3] == record[wire.PACKED].data


@given(arrays=RECORDS, data=st.data())
def test_a_part_of_what_was_unpacked_is_packed_alone(arrays, data):
    unpacked = wire.unpack("r", held(arrays))
    chosen = {
        name: unpacked[name] for name in unpacked if data.draw(st.booleans(), label=f"keep {name}")
    }
    copies = {name: each.copy() for name, each in chosen.items()}
    assert wire.pack(chosen)[3] == wire.pack(copies)[3]
    turned = dict(reversed(unpacked.items()))
    again = wire.unpack("r", held(turned))
    for name, array in unpacked.items():
        np.testing.assert_array_equal(again[name], array)


def spelt(listed, values=b"", pad=b" "):
    """Return bytes with a header that lists whatever is given."""
    text = (
        listed if isinstance(listed, bytes) else json.dumps(listed, separators=(",", ":")).encode()
    )
    text += pad * (-(4 + len(text)) % 8)
    return len(text).to_bytes(4, "little") + text + values


HOSTILE = {
    "another encoding": {"stype": "numpy.ndarray"},
    "another dtype of the whole": {"dtype": "float32"},
    "another shape of the whole": {"shape": (8,)},
    "no bytes": {"data": b"", "shape": (0,)},
    "no header": {"data": bytes(3)},
    "float64": {"data": spelt([["a", "float64", [1]]], bytes(8))},
    "objects": {"data": spelt([["a", "object", [1]]], bytes(8))},
    "no dtype": {"data": spelt([["a", "int", [1]]], bytes(8))},
    "too few": {"data": spelt([["a", "float32", [4]]], bytes(8))},
    "too many": {"data": spelt([["a", "float32", [2]]], bytes(16))},
    "negative": {"data": spelt([["a", "float32", [-2]]], bytes(8))},
    "a fraction": {"data": spelt([["a", "float32", [1.5]]], bytes(8))},
    "a text for a size": {"data": spelt([["a", "float32", ["2"]]], bytes(8))},
    "true for a size": {"data": spelt([["a", "float32", [True]]], bytes(8))},
    "endless": {"data": spelt([["a", "float32", [3, 2**62]]], bytes(8))},
    "beyond any size": {"data": spelt([["a", "float32", [2**80]]], bytes(8))},
    "many axes": {"data": spelt([["a", "float32", [1] * 90]], bytes(8))},
    "the same name twice": {"data": spelt([["a", "uint8", [1]], ["a", "uint8", [1]]], bytes(16))},
    "something where nothing is": {"data": spelt([["a", "uint8", [1]]], bytes(7) + b"x")},
    "blanks in the header": {"data": spelt(b'[["a", "uint8",[1]]]', bytes(8))},
    "other filling": {"data": spelt(b'[["a","uint8",[1]]]', bytes(8), pad=b"\n")},
    "a number spelt otherwise": {"data": spelt(b'[["a","uint8",[1e0]]]', bytes(8))},
    "no list": {"data": spelt({"a": 1})},
    "deeply nested": {"data": spelt(b"[" * 100_000)},
    "no JSON": {"data": spelt(b"\xff\xfe")},
    "no such constant": {"data": spelt(b"[[NaN,NaN,[1]]]", bytes(8))},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_bytes_that_are_no_record_are_refused(what):
    changes = HOSTILE[what]
    if "data" in changes:
        changes = {"shape": (len(changes["data"]),), **changes}
    with pytest.raises(wire.WireError, match="record 'r'"):
        wire.unpack("r", held({"a": np.zeros(3, np.float32)}, **changes))


@given(arrays=RECORDS, data=st.data())
def test_any_bytes_altered_in_a_record_are_refused_or_are_another_record_in_full(arrays, data):
    packed = bytearray(wire.pack(arrays)[3])
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    try:
        found = wire.unpack("r", held({}, data=bytes(packed), shape=(len(packed),)))
    except wire.WireError:
        return
    assert wire.pack({name: each.copy() for name, each in found.items()})[3] == bytes(packed)


def test_a_record_with_another_array_beside_is_refused():
    both = {**held({}), "x": held({})[wire.PACKED]}
    with pytest.raises(wire.WireError, match="not encoded"):
        wire.unpack("r", both)
