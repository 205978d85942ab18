"""DP-SGD at a site: what each step sees of each image and patient, and nothing more."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.adaptors import ADAPTORS, WIRINGS, AdaptorSpec, ProbeSpec, build
from fedretune.backbones.moments import evening, second_moment
from fedretune.errors import UserError
from fedretune.objectives.difference import logits_of, masked_bce, split_labels
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.privacy.dp import Mechanism, clipped, evened, train_private
from fedretune.privacy.noise import Secure, Seeded
from fedretune.training import TrainingSettings

DIM, F, N = 6, 3, 12
SETTINGS = TrainingSettings(optimizer="sgd", lr=1.0)


class Silent:
    """A source that takes everybody and adds nothing: DP-SGD without its noise."""

    name = "silent"

    def normal(self, shape):
        return torch.zeros(shape)

    def chosen(self, count, rate):
        return torch.arange(count)


@pytest.fixture
def shard():
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(N, DIM, generator=generator)
    labels = (torch.rand(N, F, generator=generator) < 0.4).float()
    labels[0, 0] = torch.nan
    labels[5] = torch.nan  # nobody labelled this image
    prompts = PromptEmbeddings(
        torch.randn(F, 2, DIM, generator=generator),
        torch.randn(F, 4, DIM, generator=generator),
        ("a", "b", "c"),
    )
    return images, labels, prompts


SPECS = {
    **{
        f"{kind} {wiring}": AdaptorSpec(kind, wiring, DIM, True, "learnable", F, 0)
        for kind in ADAPTORS
        for wiring in WIRINGS
    },
    "probe": ProbeSpec(0, DIM, F),
}


def one_by_one(model, images, labels, prompts, units, clip, shift=0.0, by=None):
    """Return the sum of the clipped gradients of each unit, by a loop over images."""
    targets, labelled = split_labels(labels)
    summed = {name: torch.zeros_like(each) for name, each in model.named_parameters()}
    for unit in units.unique():
        rows = (units == unit).nonzero()[:, 0]
        mean = {name: torch.zeros_like(each) for name, each in model.named_parameters()}
        for row in rows:
            model.zero_grad()
            at = slice(int(row), int(row) + 1)
            logits = logits_of(model, images[at], prompts)
            masked_bce(logits + shift, targets[at], labelled[at]).backward()
            for name, each in model.named_parameters():
                if each.grad is not None:
                    mean[name] += each.grad / len(rows)
        if by is not None:
            mean = {k: v @ by if v.shape[-1] == DIM else v for k, v in mean.items()}
        length = torch.sqrt(sum(each.square().sum() for each in mean.values()))
        for name, each in mean.items():
            summed[name] += each * min(1.0, clip / max(float(length), 1e-12))
    return summed


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("unit", ["image", "patient"])
def test_a_step_is_the_sum_of_clipped_gradients_that_a_plain_loop_gives(shard, spec, unit):
    images, labels, prompts = shard
    units = torch.arange(N) if unit == "image" else torch.arange(N) // 3
    model, plain = build(SPECS[spec], 1), build(SPECS[spec], 1)
    clip, prior = 0.4, 0.1
    mechanism = Mechanism(1.0, clip, 1.0, 1, prior)
    train_private(model, images, labels, prompts, SETTINGS, mechanism, Silent(), units)
    log_odds = math.log(prior / (1 - prior))
    wanted = one_by_one(plain, images, labels, prompts, units, clip, log_odds)
    count = len(units.unique())
    for (name, after), before in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(before - after, wanted[name] / count, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("unit", ["image", "patient"])
def test_an_evened_step_is_a_plain_step_in_other_coordinates(shard, unit):
    images, labels, prompts = shard
    units = torch.arange(N) if unit == "image" else torch.arange(N) // 3
    spec, clip = SPECS["mlp offsets"], 0.4
    model, plain = build(spec, 1), build(spec, 1)
    by = evening(second_moment(images))
    mechanism = Mechanism(1.0, clip, 1.0, 1, evening=by)
    train_private(model, images, labels, prompts, SETTINGS, mechanism, Silent(), units)
    wanted = one_by_one(plain, images, labels, prompts, units, clip, by=by)
    moved = False
    for (name, after), before in zip(model.named_parameters(), plain.parameters(), strict=True):
        step = wanted[name] / len(units.unique())
        step = step @ by if step.shape[-1] == DIM else step
        moved = moved or bool(step.abs().max() > 1e-3)
        torch.testing.assert_close(before - after, step, atol=1e-5, rtol=1e-5)
    assert moved


@given(
    clip=st.floats(0.01, 10),
    stretch=st.floats(0.001, 1000),
    seed=st.integers(0, 2**32),
    n=st.integers(1, 4),
)
def test_no_unit_moves_an_evened_sum_by_more_than_the_clip(clip, stretch, seed, n):
    generator = torch.Generator().manual_seed(seed)
    gradients = {"w": torch.randn(n, 4, DIM, generator=generator), "b": torch.randn(n, 2)}
    by = stretch * torch.randn(DIM, DIM, generator=generator)
    by = by + by.T
    with_all = clipped(evened(gradients, by), clip)
    without = clipped(evened({name: each[1:] for name, each in gradients.items()}, by), clip)
    moved = sum((with_all[name] - without[name]).square().sum() for name in gradients)
    assert float(moved) ** 0.5 <= clip * (1 + 1e-3)


def test_evened_noise_has_the_shape_of_the_map_and_the_size_that_it_says(shard):
    images, labels, prompts = shard
    by = evening(second_moment(images))
    spec, moved = SPECS["mlp offsets"], []
    for seed in range(300):
        model = build(spec, 1)
        mechanism = Mechanism(2000.0, 1e-6, 1.0, 1, evening=by)
        train_private(model, images, labels, prompts, SETTINGS, mechanism, Seeded(seed))
        moved.append(model.parts["offsets"].weight.detach().reshape(-1, DIM))
    steps = torch.cat(moved) * N / 2e-3
    found = steps.T @ steps / len(steps)
    torch.testing.assert_close(found, by @ by, atol=0.15 * float((by @ by).diag().max()), rtol=0)


@given(
    length=st.floats(0, 50), clip=st.floats(0.01, 10), parts=st.integers(1, 3), seed=st.integers(0)
)
def test_no_unit_moves_the_sum_by_more_than_the_clip(length, clip, parts, seed):
    generator = torch.Generator().manual_seed(seed % 2**63)
    gradients = {str(n): torch.randn(1, 4, 2, generator=generator) for n in range(parts)}
    total = torch.sqrt(sum(each.square().sum() for each in gradients.values()))
    gradients = {name: each * (length / total) for name, each in gradients.items()}
    cut = clipped(gradients, clip)
    found = float(torch.sqrt(sum(each.square().sum() for each in cut.values())))
    assert found == pytest.approx(min(length, clip), rel=1e-4, abs=1e-6)


def test_one_patient_more_or_less_moves_a_step_by_no_more_than_the_clip_whatever_its_images(shard):
    images, labels, prompts = shard
    units = torch.arange(N) // 3
    mechanism, moved = Mechanism(1.0, 0.3, 1.0, 1), []
    for keep in (slice(None), slice(0, 9)):
        model = build(SPECS["mlp double"], 1)
        extreme = images.clone()
        extreme[9:] *= 1e4
        before = [each.detach().clone() for each in model.parameters()]
        train_private(
            model, extreme[keep], labels[keep], prompts, SETTINGS, mechanism, Silent(), units[keep]
        )
        count = len(units[keep].unique())
        steps = [(a - b) * count for a, b in zip(before, model.parameters(), strict=True)]
        moved.append(torch.cat([each.detach().flatten() for each in steps]))
    apart = float((moved[0] - moved[1]).norm())
    assert 0 < apart <= 0.3 * (1 + 1e-4)


def test_the_noise_is_as_large_as_it_says(shard):
    labels = torch.full_like(shard[1], torch.nan)  # without a label there is no gradient
    model = build(AdaptorSpec("mlp", "double", 64, True, "learnable", F, 0), 1)
    before = torch.cat([each.detach().flatten() for each in model.parameters()])
    wide = PromptEmbeddings(torch.randn(F, 2, 64), torch.randn(F, 2, 64), ("a", "b", "c"))
    mechanism = Mechanism(2.0, 0.5, 0.25, 1)
    train_private(model, torch.randn(N, 64), labels, wide, SETTINGS, mechanism, Seeded(1))
    after = torch.cat([each.detach().flatten() for each in model.parameters()])
    expected = 2.0 * 0.5 / (0.25 * N)
    assert float((before - after).std()) == pytest.approx(expected, rel=0.02)


def test_the_same_seed_gives_the_same_bits_and_a_secure_source_never_does(shard):
    images, labels, prompts = shard

    def trained(source):
        model = build(SPECS["linear double"], 1)
        result = train_private(
            model, images, labels, prompts, SETTINGS, Mechanism(1.0, 1.0, 0.5, 2), source
        )
        assert (result.loss, result.steps) == (0.0, 2)  # the true loss would tell of the data
        return torch.cat([each.detach().flatten() for each in model.parameters()])

    assert torch.equal(trained(Seeded(5)), trained(Seeded(5)))
    assert not torch.equal(trained(Seeded(5)), trained(Seeded(6)))
    assert not torch.equal(trained(Secure()), trained(Secure()))


@pytest.mark.parametrize("source", [Seeded(7), Secure()], ids=["seeded", "secure"])
def test_a_source_draws_normal_numbers_and_takes_each_with_its_chance(source):
    drawn = source.normal(torch.Size([200, 500])).numpy()
    assert abs(drawn.mean()) < 0.02
    assert drawn.std() == pytest.approx(1, abs=0.02)
    assert np.mean(np.abs(drawn) > 1.96) == pytest.approx(0.05, abs=0.005)
    taken = [len(source.chosen(1000, 0.3)) for _ in range(50)]
    assert np.mean(taken) == pytest.approx(300, abs=12)
    assert np.std(taken) == pytest.approx(math.sqrt(210), rel=0.5)
    assert len(source.chosen(10, 1.0)) == 10


@settings(max_examples=20)
@given(
    field=st.sampled_from(["noise", "clip", "rate", "steps"]),
    value=st.sampled_from([0, -1, math.inf, math.nan]),
)
def test_a_mechanism_that_hides_nobody_is_refused(field, value):
    values = {"noise": 1.0, "clip": 1.0, "rate": 0.5, "steps": 1, field: value}
    with pytest.raises(UserError, match=f"privacy.{field}"):
        Mechanism(**values)


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.1, math.nan])
def test_a_prior_of_nobody_or_everybody_is_refused(prior):
    with pytest.raises(UserError, match=r"privacy\.prior"):
        Mechanism(1.0, 1.0, 0.5, 1, prior)


def test_a_rate_above_1_is_no_chance():
    with pytest.raises(UserError, match="at most 1"):
        Mechanism(1.0, 1.0, 1.5, 1)
