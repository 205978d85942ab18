"""The sum that hides whole sites: how far one moves it, its noise, its clip, and Flower's."""

import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp import strategy as flower
from hypothesis import given
from hypothesis import strategies as st

from fedretune.privacy.noise import Secure, Seeded
from server.strategies import STRATEGIES, Setup, Update
from server.strategies.private import CLIP, Hiding, PrivateFold, length_of
from tests.strategies.folding import SPEC, adaptor, constant, parameters_of
from tests.strategies.test_strategy_references import assert_close, by_flower, made, sent

SITES = 5


def folded(current, replies, hiding, strategy="fedavg", state=None):
    """Return the fold of a round to which all replies have been added."""
    setup = Setup(parameters_of(strategy), SPEC, SITES)
    fold = PrivateFold(current, hiding, STRATEGIES[strategy](setup, current, state or {}))
    for place, arrays in enumerate(replies):
        fold.add(Update(f"site-{place}", arrays, 10 ** (place + 1)))
    return fold


def hiding(clip=1.0, noise=0.0, quantile=0.0, sites=SITES, seed=0):
    return Hiding(clip, noise, sites, Seeded(seed), quantile)


@given(seed=st.integers(0, 999), clip=st.floats(1e-3, 1e3), scale=st.floats(1e-6, 1e30))
def test_no_site_moves_the_sum_by_more_than_the_clip_whatever_it_sends(seed, clip, scale):
    current, *replies = made(seed, 4)
    wild = adaptor(lambda shape: scale * np.random.default_rng(seed).normal(size=shape))
    before = folded(current, replies, hiding(clip)).sum()
    after = folded(current, [*replies, wild], hiding(clip)).sum()
    moved = length_of({name: after[name] - before[name] for name in after})
    assert moved <= clip * (1 + 1e-9) + 1e-12


def test_an_update_that_is_short_enough_counts_whole_and_one_of_nothing_for_nothing():
    current, reply = made(3, 2)
    change = {name: reply[name] - sent(current)[name] for name in reply}
    found = folded(current, [reply, current], hiding(length_of(change) + 1)).sum()
    assert_close(found, change)


def test_all_sites_weigh_the_same_and_those_that_do_not_reply_make_the_mean_smaller():
    current = constant(0.0)
    near, far = constant(0.01), constant(0.03)
    for replies, wanted in (([near, far], 0.04 / SITES), ([far], 0.03 / SITES)):
        found, _ = folded(current, replies, hiding(10.0)).result()
        assert_close(found, constant(wanted))


def test_the_noise_is_that_of_the_clip_over_the_expected_sites_and_there_without_any_reply():
    current = constant(0.0)
    draws = [folded(current, [], hiding(2.0, 3.0, seed=n)).result()[0] for n in range(400)]
    values = np.array([np.concatenate([each.ravel() for each in draw.values()]) for draw in draws])
    assert values.std() == pytest.approx(3.0 * 2.0 / SITES, rel=0.05)
    assert abs(values.mean()) < 0.02
    assert len(np.unique(values)) == values.size


def test_secure_noise_is_another_each_time():
    how = Hiding(1.0, 1.0, SITES, Secure())
    one, two = (folded(constant(0.0), [], how).result()[0] for _ in range(2))
    assert not any(np.array_equal(one[name], two[name]) for name in one)


@given(noise=st.floats(0.01, 500), sites=st.integers(1, 10_000))
def test_the_count_and_the_sum_together_are_the_noise_that_was_asked_for(noise, sites):
    how = hiding(noise=noise, quantile=0.5, sites=sites)
    together = how.sum_noise**-2 + (2 * how.count_noise) ** -2
    assert together == pytest.approx(noise**-2)
    assert noise <= how.sum_noise <= 1.04 * noise


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("start", [0.01, 50.0])
def test_the_clip_comes_to_the_length_that_a_share_of_the_updates_does_not_exceed(quantile, start):
    current = constant(0.0)
    replies = [constant(0.1 * (place + 1)) for place in range(10)]
    lengths = sorted(length_of(sent(each)) for each in replies)
    clip = start
    for _ in range(150):
        how = hiding(clip, quantile=quantile, sites=len(replies))
        clip = float(folded(current, replies, how).result()[1][CLIP][CLIP][0])
    inside = sum(length <= clip for length in lengths) / len(lengths)
    assert abs(inside - quantile) <= 0.11


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi"])
def test_a_strategy_gets_the_noised_mean_as_one_reply_and_keeps_its_own_memory(strategy):
    current, *replies = made(4, 4)
    how = hiding(0.5, 1.0, 0.5)
    found, state = folded(current, replies, how, strategy).result()
    mean, _ = folded(current, replies, how_again := hiding(0.5, 1.0, 0.5)).result()
    setup = Setup(parameters_of(strategy), SPEC, SITES)
    alone = STRATEGIES[strategy](setup, current, {})
    alone.add(Update("mean", mean, 1))
    wanted, remembered = alone.result()
    assert how_again.sum_noise == how.sum_noise
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-3, atol=1e-5)
    assert set(state) == {*remembered, CLIP}


def flowers(kind, current, *arguments):
    """Return a wrapper of Flower's around its FedAvg, to which the adaptor was sent."""
    wrapper = kind(flower.FedAvg(), *arguments)
    wrapper.current_arrays = ArrayRecord({k: Array(v) for k, v in sent(current).items()})
    return wrapper


def test_without_noise_it_is_the_mean_of_flowers_fixed_clipping():
    current, *replies = made(5, SITES + 1)
    theirs = flowers(
        flower.DifferentialPrivacyServerSideFixedClipping, current, 0.0, 0.7, len(replies)
    )
    ours, _ = folded(current, replies, hiding(0.7)).result()
    assert_close(ours, by_flower(theirs, replies, [1] * SITES))


def test_without_noise_it_is_the_mean_of_flowers_adaptive_clipping_but_the_clip_goes_elsewhere():
    current, *replies = made(6, SITES + 1)  # all of them are cut
    theirs = flowers(
        flower.DifferentialPrivacyServerSideAdaptiveClipping, current, 0.0, SITES, 0.7, 0.5, 0.2
    )
    ours, state = folded(current, replies, hiding(0.7, quantile=0.5)).result()
    assert_close(ours, by_flower(theirs, replies, [1] * SITES))
    # Andrew et al. 2021: C exp(-0.2 (b - 0.5)), b = 0 the share of those that are not cut.
    assert state[CLIP][CLIP][0] == pytest.approx(0.7 * math.exp(0.1))
    # Flower 1.42 takes the share of those that are: were it mended, the docstring should say so.
    assert theirs.clipping_norm == pytest.approx(0.7 * math.exp(-0.1))
