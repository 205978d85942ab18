"""The remedies' arithmetic, each against a slower way to the same number."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedretune.adaptors import AdaptorSpec, ProbeSpec, build
from fedretune.methods.anchor import Anchor
from fedretune.methods.ewc import EWC, fisher
from fedretune.methods.lwf import LwF
from fedretune.methods.method import Visit
from fedretune.methods.replay import Replay, balanced_reservoir, rarest_positive
from fedretune.objectives.difference import logits_of, masked_bce, split_labels
from fedretune.objectives.prompt_embeddings import PromptEmbeddings

DIM, FINDINGS, IMAGES = 6, 3, 11
SPECS = [
    AdaptorSpec("mlp", "double", DIM, True, "learnable"),
    AdaptorSpec("linear", "image+offsets", DIM, True, "10", FINDINGS),
    ProbeSpec(4, DIM, FINDINGS),
]


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def visit_of(spec, experience: int = 1) -> Visit:
    labels = (draw(1, IMAGES, FINDINGS) > 0).float()
    labels[:, 2] = torch.nan
    labels[0] = torch.nan
    model = build(spec, 0)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * draw(50 + number, *parameter.shape))
    prompts = PromptEmbeddings(draw(2, FINDINGS, 4, DIM), draw(3, FINDINGS, 2, DIM), tuple("abc"))
    images, trains = draw(0, IMAGES, DIM), ~labels.isnan()
    return Visit(model, images, labels, trains, prompts, "mean", experience, 7)


def total_of(terms, visit):
    rows = torch.arange(len(visit.images))
    logits = logits_of(visit.model, visit.images, visit.prompts)
    return sum(term(rows, logits) for term in terms)


@pytest.mark.parametrize("spec", SPECS)
def test_the_fisher_information_is_that_of_a_loop_over_images(spec):
    visit = visit_of(spec)
    summed = {name: np.zeros(p.shape) for name, p in visit.model.named_parameters()}
    for image, label in zip(visit.images, visit.labels, strict=True):
        visit.model.zero_grad()
        targets, labelled = split_labels(label[None])
        logits = logits_of(visit.model, image[None], visit.prompts)
        masked_bce(logits, targets, labelled).backward()
        for name, parameter in visit.model.named_parameters():
            summed[name] += parameter.grad.numpy() ** 2
    for name, found in fisher(visit).items():
        np.testing.assert_allclose(found, summed[name] / IMAGES, rtol=1e-4, atol=1e-9)


def test_ewc_pulls_by_the_fisher_information_of_all_experiences_to_the_last_start():
    spec, remedy = SPECS[0], EWC(4.0)
    visit = visit_of(spec)
    memory = remedy.after(remedy.after({}, visit), visit)
    start = build(spec, 3)
    memory = remedy.before(memory, replace(visit, model=start))
    expected = sum(
        (2 * torch.from_numpy(weight) * (mine - theirs).square()).sum()
        for (name, mine), theirs in zip(
            visit.model.named_parameters(), start.parameters(), strict=True
        )
        for weight in [fisher(visit)[name]]
    )
    found = total_of(remedy.terms(memory, visit), visit)
    assert found.item() == pytest.approx(4.0 / 2 * expected.item(), rel=1e-5)


def test_ewc_does_nothing_in_the_first_experience():
    visit = visit_of(SPECS[0], experience=0)
    assert EWC(1.0).terms(EWC(1.0).before({}, visit), visit) == []


@pytest.mark.parametrize("spec", SPECS)
def test_a_student_that_scores_as_its_teacher_is_not_pulled(spec):
    remedy, visit = LwF(3.0), visit_of(spec)
    memory = remedy.before({}, visit)
    total_of(remedy.terms(memory, visit), visit).backward()
    pulls = [p.grad.abs().max().item() for p in visit.model.parameters() if p.grad is not None]
    assert max(pulls) < 1e-6


def test_a_teacher_teaches_only_what_the_experience_does_not_train():
    remedy, visit = LwF(3.0), visit_of(SPECS[0])
    memory = remedy.before({}, replace(visit, model=build(SPECS[0], 5)))
    (term,) = remedy.terms(memory, visit)
    rows = torch.arange(IMAGES)
    logits = logits_of(visit.model, visit.images, visit.prompts).detach().requires_grad_()
    term(rows, logits).backward()
    assert ((logits.grad != 0) == ~visit.trains).all()
    everything = replace(visit, trains=torch.ones_like(visit.trains))
    assert remedy.terms(memory, everything) == []


def test_the_first_teacher_is_the_zero_shot_model_and_never_a_random_one():
    bare = AdaptorSpec("mlp", "double", DIM, False, "none")
    assert LwF(1.0).before({}, visit_of(SPECS[0], experience=0)) != {}
    for spec in (bare, SPECS[2]):
        assert LwF(1.0).before({}, visit_of(spec, experience=0)) == {}


def test_the_anchor_holds_nothing_that_has_not_moved():
    visit = visit_of(SPECS[0])
    moved = total_of(Anchor(2.0).terms({}, visit), visit).item()
    still = replace(visit, model=build(SPECS[0], 0))
    assert moved > 0.001
    assert total_of(Anchor(2.0).terms({}, still), still).item() == pytest.approx(0, abs=1e-6)
    assert total_of(Anchor(1.0).terms({}, visit), visit).item() == pytest.approx(moved / 2)


classes = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@given(classes, st.integers(1, 70), st.integers(0, 99))
def test_a_reservoir_is_as_even_over_classes_as_it_can_be(given_classes, size, seed):
    found = np.array(given_classes)
    draws = np.random.default_rng(seed).random(len(found))
    kept = balanced_reservoir(found, draws, size)
    assert len(kept) == len(set(kept.tolist())) == min(size, len(found))
    held = np.bincount(found[kept], minlength=5)
    whole = np.bincount(found, minlength=5)
    # A class that gave up images holds at most one less than any other, and its largest draws.
    for one in np.flatnonzero(held < whole):
        assert held.max() - held[one] <= 1
        mine = np.sort(draws[found == one])[::-1]
        assert set(draws[kept][found[kept] == one]) == set(mine[: held[one]])


@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 50))
def test_a_buffer_filled_piece_by_piece_is_one_filled_at_once(pieces, size, seed):
    rng = np.random.default_rng(seed)
    found, draws = rng.integers(0, 3, 40), rng.random(40)
    kept = np.empty(0, dtype=np.int64)
    for piece in np.array_split(np.arange(40), pieces):
        pool = np.concatenate([kept, piece])
        kept = pool[balanced_reservoir(found[pool], draws[pool], size)]
    assert sorted(kept) == sorted(balanced_reservoir(found, draws, size))


def test_the_class_of_an_image_is_its_rarest_positive_finding():
    nan = np.nan
    labels = np.array([[1, 1, nan], [1, 0, 0], [0, 0, nan], [nan, nan, 1]], dtype=np.float32)
    assert rarest_positive(labels).tolist() == [1, 0, 3, 2]


def test_a_buffer_keeps_vectors_and_the_labels_that_were_trained():
    remedy, visit = Replay(4), visit_of(SPECS[0])
    assert remedy.rows({}) is None
    images, labels = remedy.rows(remedy.after({}, visit))
    assert images.shape == (4, DIM)
    known = {
        row.tobytes(): label
        for row, label in zip(visit.images.numpy(), visit.labels.numpy(), strict=True)
    }
    for image, label in zip(images, labels, strict=True):
        np.testing.assert_array_equal(known[image.tobytes()], label)
