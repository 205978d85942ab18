import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from server.aggregation import WeightedMean

ARRAYS = hnp.arrays(np.float32, (3, 2), elements=st.floats(-1e6, 1e6, width=32))
REPLIES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.tuples(st.integers(1, 10**6), ARRAYS.map(lambda array: {"w": array})),
    min_size=1,
    max_size=6,
)


def fedavg(replies, by_finding=()):
    mean = WeightedMean(by_finding)
    for site in sorted(replies):
        examples, arrays, *positives = replies[site]
        mean.add(arrays, examples, *positives)
    return {name: found.astype(np.float32) for name, found in mean.mean().items()}


@given(replies=REPLIES, data=st.data())
def test_the_order_of_arrival_changes_no_bit(replies, data):
    names = data.draw(st.permutations(list(replies)))
    shuffled = {name: replies[name] for name in names}
    assert fedavg(shuffled)["w"].tobytes() == fedavg(replies)["w"].tobytes()


@given(replies=REPLIES)
def test_it_is_the_weighted_mean_that_numpy_computes(replies):
    weights = [examples for examples, _ in replies.values()]
    stacked = np.stack([arrays["w"].astype(np.float64) for _, arrays in replies.values()])
    expected = np.average(stacked, axis=0, weights=weights)
    np.testing.assert_allclose(fedavg(replies)["w"], expected, rtol=1e-6, atol=1e-6 * 1e6)


@given(array=ARRAYS, examples=st.integers(1, 10**6))
def test_one_site_gives_that_sites_adaptor(array, examples):
    result = fedavg({"a": (examples, {"w": array})})["w"]
    assert result.tobytes() == (array + np.float32(0)).tobytes()


def test_no_replies_are_no_average():
    with pytest.raises(ValueError, match="nothing"):
        fedavg({})


COUNTS = hnp.arrays(np.uint32, 3, elements=st.integers(0, 50))


@given(st.lists(st.tuples(st.integers(1, 99), ARRAYS, COUNTS), min_size=1, max_size=5))
def test_rows_of_findings_are_weighted_by_positives_and_by_examples_where_there_are_none(sites):
    replies = {str(n): (e, {"w": a, "v": a}, c) for n, (e, a, c) in enumerate(sites)}
    found = fedavg(replies, by_finding=["w"])
    examples = np.array([examples for examples, _, _ in sites], dtype=float)
    stacked = np.stack([array.astype(np.float64) for _, array, _ in sites])
    np.testing.assert_allclose(
        found["v"], np.average(stacked, axis=0, weights=examples), rtol=1e-6, atol=1
    )
    for row in range(3):
        positives = np.array([counts[row] for _, _, counts in sites], dtype=float)
        weights = positives if positives.any() else examples
        expected = np.average(stacked[:, row], axis=0, weights=weights)
        np.testing.assert_allclose(found["w"][row], expected, rtol=1e-6, atol=1)


def test_a_site_without_a_positive_does_not_dilute_what_another_learnt():
    learnt, idle = np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32)
    replies = {
        "a": (10, {"w": learnt}, np.array([5, 0, 1], np.uint32)),
        "b": (990, {"w": idle}, np.array([0, 0, 1], np.uint32)),
    }
    assert fedavg(replies, ["w"])["w"][:, 0].tolist() == pytest.approx([1.0, 0.01, 0.5])
