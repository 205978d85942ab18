"""The lower bound of epsilon: what guesses refute, and that it stays below the account."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from fedretune.adaptors import AdaptorSpec
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.privacy.accounting import Spending, epsilon_of
from fedretune.privacy.attacks.canary import audit, planted
from fedretune.privacy.attacks.one_run import epsilon_bound, p_value
from fedretune.privacy.dp import Mechanism, train_private
from fedretune.privacy.noise import Seeded
from fedretune.training import TrainingSettings, train

DIM, F, CANARIES = 32, 4, 120
SPEC = AdaptorSpec("mlp", "offsets", DIM, True, "10", F)


def test_the_bound_is_that_of_the_papers_own_example():
    assert epsilon_bound(1000, 100, 75, 1e-4) == pytest.approx(0.673, abs=1e-3)


@given(guesses=st.integers(1, 200), share=st.floats(0, 1), epsilon=st.floats(0, 6))
def test_without_delta_it_is_the_tail_of_a_binomial_distribution(guesses, share, epsilon):
    right = round(share * guesses)
    tail = binom.sf(right - 1, guesses, 1 / (1 + math.exp(-epsilon)))
    assert p_value(guesses, guesses, right, epsilon, 0.0) == pytest.approx(tail, abs=1e-12)


@given(right=st.integers(0, 99), delta=st.floats(0, 1e-2), epsilon=st.floats(0, 5))
def test_more_right_guesses_a_smaller_delta_or_epsilon_are_less_likely(right, delta, epsilon):
    found = p_value(100, 100, right, epsilon, delta)
    assert p_value(100, 100, right + 1, epsilon, delta) <= found + 1e-12
    assert p_value(100, 100, right, epsilon, delta / 2) <= found + 1e-12
    assert p_value(100, 100, right, epsilon + 1, 0.0) >= p_value(100, 100, right, epsilon, 0.0)


def test_randomized_response_is_not_refuted_more_often_than_the_level_says():
    rng, epsilon, guesses = np.random.default_rng(0), 1.0, 200
    right = rng.binomial(guesses, 1 / (1 + math.exp(-epsilon)), 400)
    bounds = {each: epsilon_bound(guesses, guesses, int(each), 0.0) for each in set(right)}
    assert np.mean([bounds[each] > epsilon for each in right]) <= 0.08
    assert np.mean([bounds[each] for each in right]) > 0.5  # and it does refute


def test_more_guesses_than_canaries_are_none():
    with pytest.raises(ValueError, match="guesses"):
        p_value(10, 11, 5, 1.0, 0.0)


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(2)
    told = torch.randn(2, F, 2, DIM, generator=generator)
    return PromptEmbeddings(told[0], told[1], tuple("abcd"))


def bound_of(prompts, learn, positive=False):
    given_ = planted(CANARIES, DIM, F, positive, 3)
    return audit(SPEC, learn, prompts, "mean", given_, 2, 1e-5, 3)


def test_training_without_noise_is_found_out(prompts):
    how = TrainingSettings(optimizer="sgd", lr=3.0, epochs=20)

    def learn(model, examples, round_):
        train(model, examples.images, examples.labels, prompts, how, round_)

    assert bound_of(prompts, learn).bound > 1.5


@settings(max_examples=6, deadline=None)
@given(noise=st.sampled_from([1.0, 2.0, 5.0]), positive=st.booleans())
def test_no_bound_is_above_the_account(prompts, noise, positive):
    mechanism = Mechanism(noise, 0.1, 1.0, 2, 0.01 if positive else 0.5)
    how = TrainingSettings(optimizer="sgd", lr=1.0)

    def learn(model, examples, round_):
        given_ = (model, examples.images, examples.labels, prompts, how, mechanism)
        train_private(*given_, Seeded(round_))

    found = bound_of(prompts, learn, positive)
    assert found.bound <= epsilon_of([Spending(noise, 1.0, 4)], 1e-5)


def test_an_adaptor_that_learns_nothing_tells_of_nobody(prompts):
    assert bound_of(prompts, lambda model, examples, round_: None).bound == 0


def test_who_is_trained_on_is_a_fair_coin_each():
    examples, within = planted(4000, DIM, F, False, 1)
    assert 0.47 < within.float().mean() < 0.53
    labelled = ~examples.labels.isnan()
    assert (labelled.sum(1) == 1).all()
    assert 0.45 < examples.labels[labelled].mean() < 0.55
