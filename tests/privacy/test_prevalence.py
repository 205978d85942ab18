"""How common findings are at a site, as its update tells."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV

import clients.world
from fedretune.adaptors import AdaptorSpec, build, to_arrays
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.privacy.attacks.prevalence import (
    Attacker,
    by_prevalence,
    prevalence,
    rank_correlation,
    skewed,
)
from fedretune.privacy.attacks.regression import PENALTIES, ridge
from fedretune.privacy.attacks.target import Examples
from fedretune.training import TrainingSettings, train
from tests.worlds import make_world

DIM, F = 16, 3
SPEC = AdaptorSpec("mlp", "double", DIM, True, "10")
HOW = TrainingSettings(lr=1e-3, batch_size=32, epochs=3)


def made(count, shares, seed):
    """Return images in which findings are directions, each as common as its share."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(0).normal(size=(F, DIM))
    labels = (rng.random((count, F)) < shares).astype(np.float32)
    images = rng.normal(size=(count, DIM)) + labels @ directions
    return Examples(torch.tensor(images, dtype=torch.float32), torch.from_numpy(labels))


@pytest.fixture(scope="module")
def attacker():
    told = torch.randn(2, F, 2, DIM, generator=torch.Generator().manual_seed(1))
    prompts = PromptEmbeddings(told[0], told[1], ("a", "b", "c"))

    def learn(model, part, seed):
        train(model, part.images, part.labels, prompts, HOW, seed)

    return Attacker(made(400, 0.25, 1), prompts, learn, shadows=32)


def estimated(attacker, sites):
    """Return estimate and truth ``[sites, F]``."""
    sent = build(SPEC, 5)
    answers = []
    for number, site in enumerate(sites):
        model = build(SPEC, 5)
        attacker.learn(model, site, number)
        answers.append(to_arrays(model))
    found = by_prevalence(SPEC, to_arrays(sent), answers, [len(each) for each in sites], attacker)
    return found, np.stack([prevalence(each.labels) for each in sites])


def test_sites_that_differ_much_are_told_apart_far_better_than_by_guessing(attacker):
    shares = np.random.default_rng(3).uniform(0.02, 0.7, size=(8, F))
    sites = [made(60 + 10 * n, row, 10 + n) for n, row in enumerate(shares)]
    found, truth = estimated(attacker, sites)
    assert np.abs(found - truth).mean() < 0.5 * np.abs(attacker.guess - truth).mean()
    assert rank_correlation(found.ravel(), truth.ravel()) > 0.85
    assert ((found >= 0) & (found <= 1)).all()


def test_sites_that_send_what_they_were_sent_tell_nothing(attacker):
    sent = to_arrays(build(SPEC, 5))
    found = by_prevalence(SPEC, sent, [sent, sent], [80, 80], attacker)
    assert np.array_equal(found[0], found[1])


def test_a_finding_that_nobody_labels_is_not_estimated(attacker):
    public = Examples(attacker.public.images, attacker.public.labels.clone())
    public.labels[:, 1] = torch.nan
    blind = Attacker(public, attacker.prompts, attacker.learn, shadows=4)
    sent = to_arrays(build(SPEC, 5))
    found = by_prevalence(SPEC, sent, [sent], [50], blind)
    assert np.isnan(found[0]).tolist() == [False, True, False]


def test_shadows_have_findings_more_and_less_often_than_the_public():
    public = made(500, 0.3, 2)
    shares = np.stack([prevalence(skewed(public, 100, n).labels) for n in range(30)])
    assert shares.min() < 0.15
    assert shares.max() > 0.5


@settings(max_examples=15)
@given(seed=st.integers(0, 999), noise=st.floats(0.1, 3.0))
def test_the_regression_is_that_of_scikit_learn(seed, noise):
    rng = np.random.default_rng(seed)
    told = rng.normal(size=(30, 6)) * rng.uniform(0.1, 10, size=6)
    known = told @ rng.normal(size=(6, 2)) + noise * rng.normal(size=(30, 2))
    asked = rng.normal(size=(4, 6))
    centre, spread = told.mean(0), told.std(0)
    theirs = RidgeCV(PENALTIES, alpha_per_target=True).fit((told - centre) / spread, known)
    wanted = theirs.predict((asked - centre) / spread)
    np.testing.assert_allclose(ridge(told, known, asked), wanted, rtol=1e-6, atol=1e-8)


def test_the_rank_correlation_is_spearmans_and_0_of_what_is_constant():
    one, two = np.random.default_rng(0).normal(size=(2, 9))
    assert rank_correlation(one, two) == pytest.approx(spearmanr(one, two).statistic)
    assert rank_correlation(one, np.ones(9)) == 0.0


@pytest.mark.parametrize(
    "how",
    [
        {"scenario": "class-incremental", "experiences": 3},
        {"privacy__mechanism": "example", "privacy__noise": 1.0, "privacy__steps": 2},
    ],
    ids=["class-incremental", "private"],
)
def test_a_runs_first_rounds_are_asked_for_what_their_sites_trained(
    synthetic_run, fedretune, monkeypatch, how
):
    folder, summary = synthetic_run(record_wire=True, train__epochs=1, **how)
    monkeypatch.setattr(clients.world, "make_world", make_world)
    asked = ("privacy", "attack", folder, "--attack", "prevalence", "--shadows", "6")
    told = json.loads(fedretune(*asked, "--json").out)
    steps = summary["experiences"]
    assert told["updates"] == 3 * steps
    findings = 1 if "scenario" in how else 3
    assert len(told["each"]) == 3 * steps * findings
    assert told["guess_error"] > 0
    shown = fedretune(*asked)
    assert shown.code == 0
    assert "who guesses the public" in " ".join(shown.err.split())
