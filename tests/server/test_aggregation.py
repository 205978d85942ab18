import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from server.aggregation import fedavg

ARRAYS = hnp.arrays(np.float32, (3, 2), elements=st.floats(-1e6, 1e6, width=32))
REPLIES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.tuples(st.integers(1, 10**6), ARRAYS.map(lambda array: {"w": array})),
    min_size=1,
    max_size=6,
)


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
    assert result.dtype == np.float32


def test_no_replies_are_no_average():
    with pytest.raises(ValueError, match="nothing"):
        fedavg({})
