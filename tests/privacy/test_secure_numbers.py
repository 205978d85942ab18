"""The whole numbers that secure sums are made of: nothing wraps, and little is lost."""

import numpy as np
import pytest
from Crypto.Protocol.SecretSharing import Shamir
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedretune.errors import UserError
from fedretune.privacy.secure.fixed import (
    FRACTION,
    UpdateCode,
    counts_ring,
    decode_counts,
    encode_counts,
)
from fedretune.privacy.secure.ring import Ring, elements_of
from fedretune.privacy.secure.sharing import Combiner, split
from server.aggregation import WeightedMean

SHAPES = {"rows": (3, 2), "bias": (4,)}
CODE = UpdateCode(SHAPES, 0.5)
ROWS = UpdateCode(SHAPES, 0.5, ("rows",), 3)


@given(st.integers(1, 8), st.data())
def test_elements_survive_their_bytes_and_stand_for_their_numbers(
    width: int, data: st.DataObject
) -> None:
    ring = Ring(width)
    numbers = np.array(
        data.draw(st.lists(st.integers(-ring.most - 1, ring.most), max_size=8)), np.int64
    )
    packed = ring.pack(elements_of(numbers))
    assert packed.shape == (len(numbers), width)
    np.testing.assert_array_equal(ring.signed(ring.unpack(packed)), numbers)


@given(st.integers(1, 2**63 - 1))
def test_a_ring_is_the_smallest_that_holds_its_sums(most: int) -> None:
    ring = Ring.holding(most)
    assert ring.most >= most
    assert ring.width == 1 or Ring(ring.width - 1).most < most


def test_there_is_no_ring_beyond_eight_bytes() -> None:
    with pytest.raises(UserError, match="secure-clip"):
        Ring.holding(2**63)


@st.composite
def updates(draw: st.DrawFn) -> list[tuple[dict[str, np.ndarray], int, float, np.ndarray]]:
    """Draw some sites' changes, also absurd ones, with examples, a loss and positives."""
    numbers = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)
    found = []
    for _ in range(draw(st.integers(1, 4))):
        change = {
            name: draw(hnp.arrays(np.float32, s, elements=numbers)) for name, s in SHAPES.items()
        }
        examples = draw(st.integers(1, 10_000))
        positives = draw(hnp.arrays(np.uint32, 3, elements=st.integers(0, examples)))
        found.append((change, examples, draw(st.floats(0, 1e6)), positives))
    return found


@settings(deadline=None)
@given(updates(), st.sampled_from([CODE, ROWS]))
def test_a_sum_of_updates_never_wraps(drawn: list, code: UpdateCode) -> None:
    start = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    vectors = [code.encode(start, *each) for each in drawn]
    ring = code.ring(sum(each[1] for each in drawn), len(drawn))
    exact = [sum(int(vector[n]) for vector in vectors) for n in range(code.numbers)]
    total = np.zeros(code.numbers, np.uint64)
    for vector in vectors:
        total += ring.unpack(ring.pack(elements_of(vector)))
    assert ring.signed(total).tolist() == exact
    most = sum(each[1] for each in drawn)
    code.decode(ring.signed(total), start, most)  # which no honest sum is too much for


@settings(deadline=None)
@given(updates(), st.sampled_from([CODE, ROWS]))
def test_a_decoded_sum_is_the_weighted_mean_of_what_was_cut(drawn: list, code: UpdateCode) -> None:
    start = {name: np.full(shape, 0.25, np.float32) for name, shape in SHAPES.items()}
    mean, losses = WeightedMean(code.by_finding), 0.0
    for change, examples, loss, positives in drawn:
        near = {
            name: start[name] + np.clip(each - start[name], -0.5, 0.5)
            for name, each in change.items()
        }
        mean.add(near, examples, positives if code.findings else None)
        losses += min(loss, 100.0) * examples
    total = sum(code.encode(start, *each) for each in drawn)
    examples = sum(each[1] for each in drawn)
    found = code.decode(total, start, examples)
    assert found.examples == examples
    assert found.loss == pytest.approx(losses / examples, abs=1e-4)
    for name, array in mean.mean().items():
        np.testing.assert_allclose(found.adaptor[name], array, rtol=0, atol=2.0**-FRACTION)
    if code.findings:
        np.testing.assert_array_equal(found.positives, sum(p.astype(int) for *_, p in drawn))


def test_cut_numbers_are_counted() -> None:
    start = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    wide = {**start, "bias": np.array([0.4, -0.6, 7, 0.5], np.float32)}
    assert CODE.decode(CODE.encode(start, wide, 3, 0.1), start, 3).clipped == 2


def test_a_sum_that_no_sites_have_is_refused() -> None:
    start = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    good = ROWS.encode(start, start, 5, 0.1, np.array([1, 2, 5]))
    places = ((0, 5 * ROWS.most + 1), (-2, 0), (-2, -3), (-3, -1), (-4, 6), (-6, -1), (-2, 21))
    for place, value in places:
        wrong = good.copy()
        wrong[place] = value
        with pytest.raises(ValueError, match="sum"):
            ROWS.decode(wrong, start, 20)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 2**32 - 1)), min_size=1, max_size=5))
def test_sums_of_histograms_never_wrap_whatever_noise_they_have(sites: list) -> None:
    examples = max(1, sum(total for total, _ in sites))
    ring = counts_ring(examples)
    vectors = [encode_counts(np.full((2, 3), cell, np.uint32), total) for total, cell in sites]
    summed = np.zeros(6, np.uint64)
    for vector in vectors:
        summed += elements_of(vector)
    found = decode_counts(ring.signed(ring.unpack(ring.pack(summed))), (2, 3), examples)
    np.testing.assert_array_equal(found, sum(vectors).reshape(2, 3))


def test_a_sum_of_histograms_that_no_sites_have_is_refused() -> None:
    for wrong in ([0, -1], [0, 11]):
        with pytest.raises(ValueError, match="histograms"):
            decode_counts(np.array(wrong), (2,), 10)


@given(st.binary(min_size=16, max_size=16), st.integers(2, 6), st.data())
def test_as_many_shares_as_the_threshold_tell_a_secret(
    secret: bytes, threshold: int, data: st.DataObject
) -> None:
    holders = data.draw(st.integers(threshold, 9))
    shares = split(secret, threshold, holders)
    chosen = data.draw(st.permutations(range(holders)))[:threshold]
    combined = Combiner(chosen).secret({place: shares[place] for place in chosen})
    assert combined == secret


@given(st.dictionaries(st.integers(0, 300), st.binary(min_size=16, max_size=16), min_size=1))
def test_shares_are_combined_as_the_library_does_that_made_them(shares: dict[int, bytes]) -> None:
    theirs = Shamir.combine([(place + 1, share) for place, share in shares.items()], False)
    assert Combiner(list(shares)).secret(shares) == theirs


def test_fewer_shares_are_uniform_whatever_the_secret() -> None:
    """Each bit of two of three shares, over 2,000 splits: six standard deviations of a coin."""
    for secret in (bytes(16), b"\xff" * 16):
        drawn = [b"".join(split(secret, 3, 3)[:2]) for _ in range(2000)]
        bits = np.unpackbits(np.frombuffer(b"".join(drawn), np.uint8).reshape(2000, -1), axis=1)
        assert np.abs(bits.mean(0) - 0.5).max() < 6 * 0.5 / np.sqrt(2000)
        # Two shares together, too: their difference tells no more.
        both = bits[:, :128] ^ bits[:, 128:]
        assert np.abs(both.mean(0) - 0.5).max() < 6 * 0.5 / np.sqrt(2000)
