"""What every strategy must be, whatever it is for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fedretune.strategies
from fedretune.strategies import traits_of
from server.strategies import STRATEGIES
from tests.strategies.folding import adaptor, aggregated, constant, least

#: Each ends a round where the replies lie, not on the way there.
ARRIVES = set(STRATEGIES) - {"fedadam", "fedyogi", "fedadagrad", "qfedavg"}
#: How many sites may send what they like, of so many, and how far the next adaptor may then lie
#: outside of the range of the honest ones, in diameters of theirs.
ROBUST = {
    "fedmedian": (2, 5, lambda n, f: 0.0),
    "fedtrimmedavg": (2, 10, lambda n, f: 0.0),
    "krum": (2, 7, lambda n, f: (n - f - 2) ** 0.5),
    "multikrum": (2, 7, lambda n, f: (n - f - 2) ** 0.5),
    "bulyan": (1, 7, lambda n, f: 1.0),
}
ALL = pytest.mark.parametrize("strategy", STRATEGIES)
SMALL, ANY = st.floats(-1, 1, width=32), st.floats(-(2.0**127), 2.0**127, width=32)


def drawn(rng, count):
    return [adaptor(lambda shape: rng.normal(size=shape)) for _ in range(count)]


def close(found, wanted, scale=1e-6):
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-6, atol=scale)


def test_what_a_config_knows_of_and_what_the_server_has_are_the_same_strategies():
    assert set(STRATEGIES) == set(fedretune.strategies.STRATEGIES)


@ALL
def test_names_order_shapes_and_dtypes_are_the_adaptors(strategy):
    current, replies = constant(0.5), drawn(np.random.default_rng(0), least(strategy) + 1)
    found, _ = aggregated(strategy, replies, current)
    assert list(found) == list(current)
    for name, array in found.items():
        assert (array.shape, array.dtype) == (current[name].shape, np.float32)


@ALL
def test_replies_that_are_equal_are_where_it_goes_or_the_way_it_goes(strategy):
    rng = np.random.default_rng(1)
    (current, reply), count = drawn(rng, 2), least(strategy) + 2
    found, _ = aggregated(strategy, [reply] * count, current, examples=range(1, count + 1))
    if strategy in ARRIVES:
        close(found, reply)
    for name, array in found.items():
        assert (np.sign(array - current[name]) == np.sign(reply[name] - current[name])).all()


@ALL
def test_one_site_is_followed_as_many_equal_ones_are(strategy):
    current, reply = drawn(np.random.default_rng(2), 2)
    many, _ = aggregated(strategy, [reply] * (least(strategy) + 2), current)
    if least(strategy) == 1:
        close(aggregated(strategy, [reply], current)[0], many)


@ALL
def test_without_a_change_at_any_site_there_is_none(strategy):
    (current,) = drawn(np.random.default_rng(3), 1)
    close(aggregated(strategy, [current] * (least(strategy) + 1), current)[0], current)


@ALL
def test_the_scale_of_all_weights_changes_nothing(strategy):
    rng, count = np.random.default_rng(4), least(strategy) + 3
    (current, *replies), weights = drawn(rng, count + 1), rng.integers(1, 500, count)
    once, _ = aggregated(strategy, replies, current, examples=weights)
    close(aggregated(strategy, replies, current, examples=1000 * weights)[0], once)


@ALL
def test_sums_are_of_float64_whatever_the_adaptors_dtype(strategy):
    """In float16 two of these values, or the square of one, are infinite."""
    current, reply = constant(0, np.float16), constant(60_000, np.float16)
    found, state = aggregated(strategy, [reply] * (least(strategy) + 3), current)
    for name, array in found.items():
        assert array.dtype == np.float16
        assert np.isfinite(array).all()
        assert array.max() <= 60_000
        if strategy in ARRIVES:
            assert (array == reply[name]).all()
    assert {array.dtype for each in state.values() for array in each.values()} <= {
        np.dtype(np.float64)
    }


@ALL
def test_nothing_is_no_adaptor(strategy):
    with pytest.raises(ValueError, match="nothing"):
        aggregated(strategy, [], constant(0))


@pytest.mark.parametrize("strategy", ROBUST)
@settings(max_examples=40)
@given(data=st.data())
def test_what_attackers_send_moves_a_robust_strategy_no_further_than_it_says(strategy, data):
    attackers, sites, beyond = ROBUST[strategy]
    honest = [
        adaptor(lambda shape: data.draw(hnp.arrays(np.float32, shape, elements=SMALL)))
        for _ in range(sites - attackers)
    ]
    bad = [
        adaptor(lambda shape: data.draw(hnp.arrays(np.float32, shape, elements=ANY)))
        for _ in range(attackers)
    ]
    order = data.draw(st.permutations([*honest, *bad]))
    keys = {} if strategy.startswith("fed") else {"attackers": attackers}
    found, _ = aggregated(strategy, order, constant(0), **keys)
    flat = np.stack([_flat(each) for each in honest])
    low, high = flat.min(axis=0), flat.max(axis=0)
    width = np.linalg.norm(flat[:, None] - flat, axis=2).max() if "krum" in strategy else high - low
    room = beyond(sites, attackers) * width + 1e-6
    assert (_flat(found) >= low - room).all()
    assert (_flat(found) <= high + room).all()


def _flat(arrays):
    return np.concatenate([array.ravel() for array in arrays.values()]).astype(np.float64)


def test_the_plain_mean_has_no_such_bound():
    honest, bad = [constant(0)] * 9, constant(1e9)
    found, _ = aggregated("fedavg", [*honest, bad], constant(0))
    assert all((array > 1e7).all() for array in found.values())


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if traits_of(name).from_mean])
def test_the_weighted_mean_of_the_replies_tells_it_as_much_as_they_do(strategy):
    """What a secure sum is enough for."""
    current, *replies = drawn(np.random.default_rng(5), 4)
    examples = [3, 20, 7]
    mean = {
        name: np.average([reply[name] for reply in replies], 0, weights=examples)
        for name in current
    }
    several, state = aggregated(strategy, replies, current, examples=examples)
    once, other = aggregated(strategy, [mean], current, examples=[30])
    close(once, several)
    later, _ = aggregated(strategy, replies, current, state, examples)
    close(aggregated(strategy, [mean], current, other, [30])[0], later)
