"""Membership: scores and how they are measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fedretune.adaptors import AdaptorSpec, build
from fedretune.objectives.difference import logits_of, masked_bce, split_labels
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.privacy.attacks import MEMBERSHIP, shadows
from fedretune.privacy.attacks.lira import log_ratios
from fedretune.privacy.attacks.shadows import Shadows, halves, shadows_of
from fedretune.privacy.attacks.target import Examples, Target
from fedretune.privacy.measures import separation
from fedretune.training import TrainingSettings, train

DIM, F, N = 16, 3, 40
OVERFITTING = TrainingSettings(lr=3e-3, batch_size=16, epochs=40)


def drawn(seed: int) -> Examples:
    """Vectors with labels that they do not tell: what is learnt of them is learnt by heart."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(N, F, generator=generator) < 0.5).float()
    labels[0, 0] = torch.nan
    return Examples(torch.randn(N, DIM, generator=generator), labels)


def attacked(trained: bool) -> Target:
    """Return a target that was trained on its members by heart, or not at all."""
    generator = torch.Generator().manual_seed(9)
    prompts = PromptEmbeddings(
        torch.randn(F, 2, DIM, generator=generator),
        torch.randn(F, 2, DIM, generator=generator),
        ("a", "b", "c"),
    )
    model = build(AdaptorSpec("mlp", "double", DIM, True, "learnable"), 5)
    members, others = drawn(1), drawn(2)
    if trained:
        train(model, members.images, members.labels, prompts, OVERFITTING, 5)
    return Target(model, members, others, prompts, OVERFITTING, 8, 3)


def auc_of(name: str, target: Target) -> float:
    scores = MEMBERSHIP[name](target).double().numpy()
    return separation(scores[:N], scores[N:]).auc


@pytest.mark.parametrize("name", list(MEMBERSHIP))
def test_who_was_learnt_by_heart_is_found(name):
    assert auc_of(name, attacked(trained=True)) > 0.9


@pytest.mark.parametrize("name", list(MEMBERSHIP))
def test_a_model_that_saw_nobody_tells_of_nobody(name):
    assert 0.3 < auc_of(name, attacked(trained=False)) < 0.7


def test_the_loss_attack_scores_by_the_loss_of_training():
    target = attacked(trained=True)
    scores = MEMBERSHIP["loss"](target)
    at = target.members.take(torch.tensor([0]))  # one of its labels is not known
    logits = logits_of(target.model, at.images, target.prompts)
    assert scores[0].item() == pytest.approx(-masked_bce(logits, *split_labels(at.labels)).item())


@given(st.integers(1, 12), st.integers(1, 9))
def test_each_unit_is_in_half_of_the_shadows(count, units):
    assert (halves(count, units, 0).sum(0) == count // 2).all()


def test_a_patient_is_in_a_shadow_with_all_images_or_with_none():
    units = torch.arange(2 * N) // 2
    target = replace(attacked(trained=True), units=units)
    within = shadows_of(target).within
    assert (within[:, ::2] == within[:, 1::2]).all()
    assert (within.sum(0) == target.shadows // 2).all()


def test_another_model_is_asked_with_the_same_shadows():
    target = attacked(trained=True)
    other = target.asked_of(build(target.model.spec, 6))
    assert shadows_of(other) is shadows_of(target)
    assert auc_of("lira", other) < auc_of("lira", target)


def test_shadows_are_the_same_bits_on_any_number_of_cores(monkeypatch):
    both = []
    for count in (1, 2):
        monkeypatch.setattr(shadows, "cores", lambda count=count: count)
        both.append(shadows_of(attacked(trained=False)).odds)
    torch.testing.assert_close(*both, rtol=0, atol=0, equal_nan=True)


def test_the_ratio_of_likelihoods_is_that_of_two_normal_distributions():
    generator = torch.Generator().manual_seed(0)
    odds = torch.randn(10, 2, 1, generator=generator, dtype=torch.float64)
    within = halves(10, 2, 0)
    odds += 2 * within[..., None]
    said = torch.tensor([[2.0], [0.0]], dtype=torch.float64)
    sides = []
    for chosen in (within, ~within):
        parts = [odds[chosen[:, n], n, 0] for n in range(2)]
        spread = torch.stack([part.var() for part in parts]).mean().sqrt()
        normals = [torch.distributions.Normal(part.mean(), spread) for part in parts]
        sides.append(torch.stack([normals[n].log_prob(said[n, 0]) for n in range(2)]))
    assert torch.allclose(log_ratios(said, Shadows(odds, within)), sides[0] - sides[1])


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
)
def test_the_figures_are_those_of_every_threshold(members, others):
    inside, outside = (np.array(each, dtype=float) for each in (members, others))
    found = separation(inside, outside)
    truth = [1] * len(members) + [0] * len(others)
    assert found.auc == pytest.approx(roc_auc_score(truth, [*members, *others]))
    cuts = [*range(-5, 7)]
    pairs = [((outside >= cut).mean(), (inside >= cut).mean()) for cut in cuts]
    assert found.tpr == tuple(max(t for f, t in pairs if f <= rate) for rate in (0.01, 0.001))
    assert found.advantage == pytest.approx(max(t - f for f, t in pairs))
    assert not found.enough


def test_an_interval_lies_around_its_figure():
    rng = np.random.default_rng(0)
    found = separation(rng.normal(1, 1, 2000), rng.normal(0, 1, 2000))
    assert found.enough
    for figure, (low, high) in (
        (found.auc, found.auc_interval),
        (found.tpr[0], found.tpr_intervals[0]),
    ):
        assert low < figure < high
    assert found.auc == pytest.approx(0.760, abs=0.02)  # Phi(1 / sqrt 2)


@pytest.mark.parametrize("scores", [[], [float("nan")]], ids=["none", "no number"])
def test_there_is_no_measure_of_no_scores(scores):
    with pytest.raises(ValueError, match="finite scores"):
        separation(np.array(scores), np.array([1.0]))
