import numpy as np
import pytest

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
