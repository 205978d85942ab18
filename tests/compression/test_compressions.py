"""The arithmetic of each compression: how near it comes, and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedretune.adaptors import AdaptorSpec, ProbeSpec
from fedretune.compression import UnsoundError
from fedretune.compression.bf16 import LARGEST, Bf16
from fedretune.compression.int8 import Int8
from fedretune.compression.lowrank import LowRank
from fedretune.compression.topk import BLOCK, TopK

SPEC = AdaptorSpec("linear", "double", 16, True, "learnable")
BF16, INT8, TOPK, LOWRANK = Bf16(SPEC, 1), Int8(SPEC, 1), TopK(SPEC, 0.05), LowRank(SPEC, 0.4)
LENGTH = BF16.length
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
UPDATES = hnp.arrays(np.float32, LENGTH, elements=FINITE, fill=FINITE)


@given(update=UPDATES)
def test_bf16_rounds_as_torch_does(update):
    wanted = torch.from_numpy(update.clip(-LARGEST, LARGEST)).bfloat16().float().numpy()
    np.testing.assert_array_equal(BF16.decode(BF16.encode(update)), wanted)


@given(update=UPDATES)
def test_bf16_is_off_by_a_256th_of_a_value_at_most(update):
    error = np.abs(BF16.decode(BF16.encode(update)).astype(np.float64) - update)
    smallest = np.finfo(np.float32).tiny  # below it there are fewer bits
    assert (error <= np.maximum(np.abs(update), smallest) / 256).all()


@given(update=UPDATES)
def test_int8_is_off_by_half_a_scale_at_most_and_a_scale_is_its_tensors_own(update):
    update = update.clip(-1e38, 1e38)
    encoded = INT8.encode(update)
    decoded = INT8.decode(encoded).astype(np.float64)
    stops = np.cumsum(list(INT8.sizes.values()))[:-1]
    for values, found, scale in zip(
        np.split(update, stops), np.split(decoded, stops), encoded["scales"], strict=True
    ):
        largest = np.abs(values).max()
        assert scale == np.float32(largest / np.float32(127))
        if largest > 1e-36:  # where a scale has all its bits
            assert np.abs(found - values).max() <= scale * (0.5 + 1e-4)


@given(update=UPDATES, share=st.floats(0.001, 1))
def test_topk_sends_of_each_block_the_values_farthest_from_zero(update, share):
    topk = TopK(SPEC, share)
    encoded = topk.encode(update)
    for block, places in enumerate(encoded["places"]):
        values = update[block :: topk.blocks]
        sent = np.sort(np.abs(values[places]))
        np.testing.assert_array_equal(sent, np.sort(np.abs(values))[len(values) - topk.kept :])
        limit = np.finfo(np.float16).max
        as_halves = values[places].clip(-limit, limit).astype(np.float16)
        np.testing.assert_array_equal(encoded["values"][block], as_halves)


@given(length=st.integers(1, 2000), share=st.floats(0.001, 1))
def test_topk_cuts_any_length_into_blocks_of_nearly_one_size(length, share):
    topk = TopK(ProbeSpec(0, length, 1), share)
    sizes = [len(range(block, topk.length, topk.blocks)) for block in range(topk.blocks)]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= BLOCK
    assert 1 <= topk.kept <= min(sizes)


@given(seed=st.integers(0, 2**32), share=st.floats(0.01, 1), exponent=st.integers(-20, 20))
def test_lowrank_is_as_near_as_the_singular_values_allow_and_int8_rounds(seed, share, exponent):
    spec = AdaptorSpec("mlp", "double", 16, True, "learnable")
    lowrank = LowRank(spec, share)
    rng = np.random.default_rng(seed)
    update = (rng.standard_normal(lowrank.length) * 10.0**exponent).astype(np.float32)
    found = lowrank.split(lowrank.decode(lowrank.encode(update)).astype(np.float64))
    for name, part in lowrank.split(update.astype(np.float64)).items():
        factors, error = lowrank.factors[name], np.linalg.norm(part - found[name])
        least = 0.0
        if factors:
            matrix = part.reshape(factors.rows, factors.columns)
            least = np.linalg.norm(np.linalg.svd(matrix, compute_uv=False)[factors.rank :])
        assert 0.999 * least <= error <= least + 0.03 * np.linalg.norm(part)


def test_lowrank_sends_the_share_of_a_matrix_and_leaves_rows_without_a_change_as_they_are():
    spec = AdaptorSpec("mlp", "offsets", 64, True, "learnable", 14, 256)
    lowrank = LowRank(spec, 0.2)
    factors = lowrank.factors["parts.offsets.weight"]
    assert (factors.rows, factors.columns) == (28, 320)
    assert factors.rank * (28 + 320) == pytest.approx(0.2 * 28 * 320, rel=0.1)
    update = np.random.default_rng(0).standard_normal(lowrank.length).astype(np.float32)
    update[1 : 1 + 2 * 320] = 0.0
    assert not lowrank.decode(lowrank.encode(update))[1 : 1 + 2 * 320].any()


def encoded_by(compression):
    return compression.encode(np.linspace(-1, 1, LENGTH, dtype=np.float32))


def _infinite_half(encoded):
    encoded["values"][7] = 0x7F80


def _nan_half(encoded):
    encoded["values"][7] = 0xFFC1


def _infinite_scale(encoded):
    encoded["scales"][1] = np.inf


def _nan_scale(encoded):
    encoded["scales"][1] = np.nan


def _negative_scale(encoded):
    encoded["scales"][1] = -1e-3


def _least_value(encoded):
    encoded["values"][7] = -128


def _same_place(encoded):
    encoded["places"][0, 1] = encoded["places"][0, 0]


def _falling_places(encoded):
    encoded["places"][0] = encoded["places"][0, ::-1].copy()


def _place_outside(encoded):
    encoded["places"][-1, -1] = 255


def _infinite_value(encoded):
    encoded["values"][0, 0] = np.inf


@pytest.mark.parametrize(
    ("compression", "spoil"),
    [
        (BF16, _infinite_half),
        (BF16, _nan_half),
        (INT8, _infinite_scale),
        (INT8, _nan_scale),
        (INT8, _negative_scale),
        (INT8, _least_value),
        (LOWRANK, _infinite_scale),
        (LOWRANK, _negative_scale),
        (LOWRANK, _least_value),
        (TOPK, _same_place),
        (TOPK, _falling_places),
        (TOPK, _place_outside),
        (TOPK, _infinite_value),
    ],
)
def test_what_is_never_encoded_is_refused(compression, spoil):
    encoded = encoded_by(compression)
    compression.decode(encoded)
    spoil(encoded)
    with pytest.raises(UnsoundError):
        compression.decode(encoded)
