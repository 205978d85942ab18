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


def encoded(array, **changes):
    """Return an array as Flower holds it."""
    values = zip(("dtype", "shape", "stype", "data"), wire.encode(array), strict=True)
    return SimpleNamespace(**{**dict(values), **changes})


@given(array=ARRAYS, transpose=st.booleans())
def test_an_array_is_decoded_to_the_values_that_were_encoded(array, transpose):
    array = array.T if transpose else array
    decoded = wire.decode("a", encoded(array))
    assert (decoded.shape, decoded.dtype.name) == (array.shape, array.dtype.name)
    np.testing.assert_array_equal(decoded, array)


@given(array=ARRAYS)
def test_the_bytes_are_those_that_numpy_writes_little_endian(array):
    written = array.astype(array.dtype.newbyteorder("<")).tobytes()
    assert wire.encode(array) == (array.dtype.name, array.shape, wire.ENCODING, written)


@given(array=ARRAYS)
def test_a_decoded_array_is_read_where_it_lies_cannot_be_changed_and_is_sent_on_as_it_is(array):
    message = encoded(array)
    decoded = wire.decode("a", message)
    assert not decoded.flags.writeable
    assert wire.encode(decoded)[3] is message.data


@given(array=hnp.arrays(np.float32, st.integers(2, 9)), data=st.data())
def test_a_part_of_a_decoded_array_is_encoded_alone(array, data):
    decoded = wire.decode("a", encoded(array))
    part = data.draw(hnp.basic_indices(array.shape).filter(lambda index: index != ()))
    chosen = np.atleast_1d(decoded[part])
    assert wire.encode(chosen)[3] == chosen.tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"stype": "numpy.ndarray"},
        {"dtype": "float64"},
        {"dtype": "object"},
        {"dtype": "int"},
        {"shape": (4,)},
        {"shape": (2,)},
        {"shape": (-3,)},
        {"shape": (3, -1)},
        {"shape": (3, 2**62)},
        {"shape": (0, 2**80)},
        {"shape": (1.5, 2)},
        {"shape": ("3",)},
        {"shape": (1,) * 90 + (3,)},
        {"data": b"\0" * 13},
        {"data": b"\0" * 11},
        {"data": b""},
    ],
    ids=str,
)
def test_an_array_whose_bytes_are_not_what_it_says_is_refused(changes):
    with pytest.raises(wire.WireError, match="array 'a'"):
        wire.decode("a", encoded(np.zeros(3, np.float32), **changes))
