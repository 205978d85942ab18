"""What one site's update gives away."""

import numpy as np
import pytest
import torch

from fedretune.adaptors import AdaptorSpec, ProbeSpec, build, to_arrays
from fedretune.errors import UserError
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.privacy.attacks.alignment import by_alignment
from fedretune.privacy.attacks.inversion import invert
from fedretune.privacy.attacks.retrieval import cosines_to_truth, mean_baseline, re_identified
from fedretune.privacy.attacks.span import by_span
from fedretune.privacy.attacks.target import Examples
from fedretune.privacy.measures import separation
from fedretune.training import TrainingSettings, train

DIM, F, GALLERY = 32, 3, 50
SGD = TrainingSettings(optimizer="sgd", lr=0.1, batch_size=GALLERY, epochs=1)
SPECS = {
    "mlp": AdaptorSpec("mlp", "double", DIM, True, "learnable"),
    "linear": AdaptorSpec("linear", "image", DIM, True, "none"),
    "plain mlp": AdaptorSpec("mlp", "double", DIM, False, "10"),
    "probe": ProbeSpec(16, DIM, F),
    "linear probe": ProbeSpec(0, DIM, F),
}


@pytest.fixture(scope="module")
def world():
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(2 * GALLERY, DIM, generator=generator) + 1.0
    labels = (torch.rand(2 * GALLERY, F, generator=generator) < 0.4).float()
    told = torch.randn(2, F, 2, DIM, generator=generator)
    return Examples(images, labels), PromptEmbeddings(told[0], told[1], ("a", "b", "c"))


def answers(spec, examples, prompts, settings=SGD, rounds=1):
    """Return what a site is sent and answers, in its round `rounds`."""
    model = build(spec, 7)
    for _ in range(rounds):
        sent = to_arrays(model)
        train(model, examples.images, examples.labels, prompts, settings, 1)
    return sent, to_arrays(model)


def recovered(spec, world, settings=SGD, rounds=1, batch=1):
    """Return, for 20 sites with a batch each, what is recovered; and the whole gallery."""
    examples, prompts = world
    parts = [examples.take(torch.arange(n, n + batch)) for n in range(20)]
    found = [invert(spec, *answers(spec, part, prompts, settings, rounds)) for part in parts]
    return torch.from_numpy(np.stack(found)).float(), examples.images


@pytest.mark.parametrize("rounds", [1, 2], ids=["first round", "second round"])
@pytest.mark.parametrize("name", SPECS)
def test_a_step_of_sgd_on_one_image_gives_its_vector_away(world, name, rounds):
    found, gallery = recovered(SPECS[name], world, rounds=rounds)
    # Fewer units than dimensions may be above zero by chance, in the first round of `mlp`.
    assert (cosines_to_truth(found, gallery[:20]) > 0.99).sum() >= 18
    assert re_identified(found, gallery, torch.arange(20)).all()
    assert mean_baseline(gallery, gallery[:20]).mean() < 0.9


def test_a_step_of_adam_gives_less(world):
    found, gallery = recovered(SPECS["mlp"], world, TrainingSettings(lr=1e-3, epochs=1))
    assert cosines_to_truth(found, gallery[:20]).mean() < 0.9


@pytest.mark.parametrize("wiring", ["shared", "text", "offsets"])
def test_an_adaptor_without_a_layer_of_the_images_is_refused(world, wiring):
    spec = AdaptorSpec("mlp", wiring, DIM, True, "none", F)
    arrays = to_arrays(build(spec, 0))
    with pytest.raises(UserError, match="no layer that images alone go through"):
        invert(spec, arrays, arrays)


def test_an_update_of_nothing_is_refused():
    arrays = to_arrays(build(SPECS["mlp"], 0))
    with pytest.raises(UserError, match="changes nothing"):
        invert(SPECS["mlp"], arrays, arrays)


def aligned(world, batch, spec=SPECS["mlp"], **how):
    examples, prompts = world
    members = examples.take(torch.arange(batch))
    sent, answered = answers(spec, members, prompts, **how)
    model = build(spec, 7)
    update = {name: torch.from_numpy(answered[name] - sent[name]) for name in sent}
    return by_alignment(model, update, examples, prompts).double().numpy()


def test_the_gradient_of_the_only_image_is_the_update(world):
    assert aligned(world, 1)[0] == pytest.approx(1.0, abs=1e-4)


def test_who_was_in_a_small_batch_is_found_by_the_update(world):
    scores = aligned(world, 4)
    assert separation(scores[:4], scores[4:]).auc > 0.8


def test_what_the_units_leave_open_is_taken_from_other_images(world):
    examples, prompts = world
    spec, generator = SPECS["mlp"], torch.Generator().manual_seed(8)
    alike = 0.3 * torch.randn(200, DIM, generator=generator) + torch.linspace(-1, 1, DIM)
    found = []
    for n in range(20):
        part = Examples(alike[n : n + 1], examples.labels[n : n + 1])
        sent, answered = answers(spec, part, prompts)
        found.append(
            [invert(spec, sent, answered), invert(spec, sent, answered, alike[100:].numpy())]
        )
    alone, told = (torch.from_numpy(np.stack(each)) for each in zip(*found, strict=True))
    truth = alike[:20].double()
    cosines = [cosines_to_truth(each, truth).mean() for each in (alone, told)]
    assert cosines[1] > max(cosines[0], 0.99)


def inside(spec, world, batch, settings=SGD, rounds=1):
    """Return the span attack's shares of a batch, and of everybody else."""
    examples, prompts = world
    part = examples.take(torch.arange(batch))
    shares = by_span(spec, *answers(spec, part, prompts, settings, rounds), examples.images.numpy())
    return shares[:batch], shares[batch:]


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("name", SPECS)
def test_a_step_of_sgd_on_few_images_spans_them_and_nobody_else(world, name, batch):
    spec = SPECS[name]
    # A probe has as many output units as findings, so only so many directions.
    here, elsewhere = inside(spec, world, min(batch, F) if isinstance(spec, ProbeSpec) else batch)
    assert here.min() > 0.999
    assert elsewhere.max() < here.min()


def test_a_batch_beyond_the_rank_hides_its_images(world):
    here, elsewhere = inside(SPECS["linear probe"], world, 40)
    assert separation(here, elsewhere).auc < 0.9


def test_the_span_of_nothing_holds_nobody(world):
    arrays = to_arrays(build(SPECS["mlp"], 0))
    assert not by_span(SPECS["mlp"], arrays, arrays, world[0].images.numpy()).any()
