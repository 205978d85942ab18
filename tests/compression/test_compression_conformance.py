"""What every compression must do. A new one is tested here as soon as it is registered."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedretune import wire
from fedretune.adaptors import AdaptorSpec, ProbeSpec, build, to_arrays
from fedretune.compression import COMPRESSIONS, UnsoundError, compression_of
from fedretune.errors import UserError

SPECS = [
    AdaptorSpec("mlp", "double", 8, True, "learnable"),
    AdaptorSpec("linear", "shared", 16, True, "10"),
    AdaptorSpec("mlp", "offsets", 8, True, "learnable", 3, 4),
    ProbeSpec(0, 1, 1),
]
MAKERS = st.builds(COMPRESSIONS.__getitem__, st.sampled_from(sorted(COMPRESSIONS)))
COMPRESSED = st.builds(
    lambda make, spec, share: make(spec, share),
    MAKERS,
    st.sampled_from(SPECS),
    st.floats(0.001, 1),
)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def updates(draw, elements=FINITE):
    """Return a compression and an update: at random, of values of any size, many of them alike."""
    compression = draw(COMPRESSED)
    few = draw(hnp.arrays(np.float32, 12, elements=elements))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    random = rng.standard_normal(compression.length).astype(np.float32)
    return compression, draw(st.sampled_from([random, rng.choice(few, compression.length)]))


def spelt(arrays):
    """Return name to shape and dtype, as `Compression.tensors` does."""
    return {name: (array.shape, array.dtype.name) for name, array in arrays.items()}


@given(drawn=updates())
def test_what_is_encoded_is_what_the_schema_lists_and_is_read_from_its_bytes(drawn):
    compression, update = drawn
    encoded = compression.encode(update)
    assert spelt(encoded) == compression.tensors()
    keys = ("dtype", "shape", "stype", "data")
    packed = SimpleNamespace(**dict(zip(keys, wire.pack(encoded), strict=True)))
    read = wire.unpack("update", {wire.PACKED: packed})
    schema = wire.train_schema(compression.adaptor, 0, compression)
    metrics = {"experience": 0, "round": 0, "num-examples": 1, "loss": 0.5}
    wire.check(schema, {"update": read}, {"metrics": metrics})
    np.testing.assert_array_equal(compression.decode(read), compression.decode(encoded))


@given(drawn=updates())
def test_an_update_comes_nearer_than_if_nothing_were_sent(drawn):
    """A compressor is a contraction, without which error feedback need not converge."""
    compression, update = drawn
    decoded = compression.decode(compression.encode(update))
    assert decoded.dtype == np.float32
    exact = update.astype(np.float64)
    assert np.linalg.norm(exact - decoded) <= np.linalg.norm(exact) * (1 + 1e-6)


@given(drawn=updates())
def test_what_was_decoded_is_encoded_with_hardly_a_loss(drawn):
    compression, update = drawn
    decoded = compression.decode(compression.encode(np.clip(update, -1e4, 1e4)))
    again = compression.decode(compression.encode(decoded)).astype(np.float64)
    assert np.linalg.norm(again - decoded) <= 0.05 * np.linalg.norm(decoded.astype(np.float64))


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_what_is_not_sent_at_once_is_sent_later(name, spec):
    """The mean of what arrives becomes that of what was trained."""
    compression = COMPRESSIONS[name](spec, 0.1)
    rng = np.random.default_rng(0)
    step = {n: rng.standard_normal(s).astype(np.float32) for n, (s, _) in spec.tensors().items()}
    start = {n: np.zeros_like(array) for n, array in step.items()}
    residual, arrived, rounds = None, 0.0, 300
    for _ in range(rounds):
        encoded, residual = compression.compress(start, step, residual)
        arrived = arrived + compression.decode(encoded).astype(np.float64)
    wanted = np.concatenate([array.ravel() for array in step.values()])
    np.testing.assert_allclose(arrived + residual, rounds * wanted, rtol=1e-3, atol=1e-3)
    assert np.linalg.norm(arrived / rounds - wanted) <= 0.06 * np.linalg.norm(wanted)


@given(drawn=updates(st.floats(-10, 10, width=32)))
def test_the_server_makes_the_adaptor_of_what_arrived_and_the_residual_is_the_rest(drawn):
    compression, update = drawn
    start = to_arrays(build(compression.adaptor, 1))
    trained = {
        name: start[name] + part.reshape(start[name].shape)
        for name, part in compression.split(update).items()
    }
    encoded, residual = compression.compress(start, trained, None)
    restored = compression.restore(start, encoded)
    assert spelt(restored) == compression.adaptor.tensors()
    left = np.concatenate([(trained[name] - restored[name]).ravel() for name in trained])
    np.testing.assert_allclose(residual, left, atol=1e-5)


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_an_update_that_is_not_finite_is_neither_sent_nor_remembered(name, value):
    compression = COMPRESSIONS[name](SPECS[0], 0.1)
    start = to_arrays(build(SPECS[0], 0))
    first = next(iter(start))
    trained = {**start, first: np.full_like(start[first], value)}
    start[first] = np.full_like(start[first], -3e38)
    with pytest.raises(UnsoundError, match="not finite"):
        compression.compress(start, trained, None)


@settings(max_examples=200)
@given(compression=COMPRESSED, data=st.data())
def test_any_bytes_make_a_finite_adaptor_or_are_refused(compression, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    encoded = {
        name: np.ndarray(shape, dtype, rng.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize))
        for name, (shape, dtype) in compression.tensors().items()
    }
    start = to_arrays(build(compression.adaptor, 1))
    try:
        restored = compression.restore(start, encoded)
    except UnsoundError:
        return
    assert spelt(restored) == compression.adaptor.tensors()
    assert all(np.isfinite(array).all() for array in restored.values())


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_it_takes_at_most_about_half_the_bytes(name):
    spec = AdaptorSpec("mlp", "double", 128, True, "learnable")
    tensors = COMPRESSIONS[name](spec, 0.05).tensors()
    size = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in tensors.values())
    assert size <= 4 * 132_097 / 2


def test_none_is_no_compression_and_its_schema_is_the_adaptors():
    assert compression_of("none", SPECS[0], 0.05) is None
    assert set(wire.train_schema(SPECS[0]).arrays) == {"adaptor"}


def test_an_unknown_compression_is_named_with_what_is_allowed():
    with pytest.raises(UserError, match=r"'int9'.* Did you mean 'int8'\? Allowed: .*none, topk"):
        compression_of("int9", SPECS[0], 0.05)
