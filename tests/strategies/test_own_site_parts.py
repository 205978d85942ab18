"""What sites do in the strategies that Flower has not, against the papers' formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedretune.adaptors import AdaptorSpec, ProbeSpec, build, to_arrays
from fedretune.methods.ewc import fisher
from fedretune.methods.method import Visit
from fedretune.objectives.difference import logits_of, masked_bce, without_one_class
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.strategies import part_of
from fedretune.strategies.fisher import FISHER
from fedretune.strategies.part import Round
from fedretune.strategies.regmean import GRAM, grams, linear_layers, symmetric, upper
from fedretune.strategies.scaffold import CONTROL
from fedretune.strategies.steps import RECORD, STEPS
from fedretune.training import TrainingSettings, train
from fedretune.wire import WireError
from scenarios import RunConfig
from tests.strategies.folding import parameters_of

N, DIM, FINDINGS = 12, 5, ("Mass", "Edema", "Hernia")
SPEC = AdaptorSpec("mlp", "double", DIM, True, "learnable", len(FINDINGS))
SGD = TrainingSettings(optimizer="sgd", lr=0.3, batch_size=N, epochs=1)


def visit_of(spec=SPEC):
    generator = torch.Generator().manual_seed(3)
    prompts = torch.randn(2, len(FINDINGS), 4, DIM, generator=generator)
    labels = (torch.rand(N, len(FINDINGS), generator=generator) < 0.4).float()
    labels[:, 2] = 0.0
    model = build(spec, seed=1)
    with torch.no_grad():  # the last layer begins at zero, where nothing before it matters
        for each in model.parameters():
            each += 0.1 * torch.randn(each.shape, generator=generator)
    images = torch.randn(N, DIM, generator=generator)
    embedded = PromptEmbeddings(prompts[0], prompts[1], FINDINGS)
    return Visit(model, images, labels, ~labels.isnan(), embedded, "mean", 0, 0)


def taken(strategy, visit, settings=SGD, sent=None, memory=None):
    """Return what a site adds after a round, and the adaptors before and after."""
    start = to_arrays(visit.model)
    part = part_of(strategy, parameters_of(strategy))
    turn = part.begin(Round(visit, settings, sent or {}, memory or {}))
    result = train(
        visit.model, visit.images, visit.labels, visit.prompts, settings, 0, list(turn.terms)
    )
    return turn.finish(visit.model, result), start, to_arrays(visit.model)


def gradient(visit, settings=SGD):
    loss = masked_bce(
        logits_of(visit.model, visit.images, visit.prompts, "mean"), visit.labels, None
    )
    named = dict(visit.model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def drawn(seed, scale=0.01):
    rng = np.random.default_rng(seed)
    shapes = SPEC.tensors().items()
    return {name: (scale * rng.normal(size=s)).astype(np.float32) for name, (s, _) in shapes}


def test_a_scaffold_step_goes_along_the_corrected_gradient():
    common, own, visit = drawn(1), drawn(2), visit_of()
    wanted = gradient(visit)
    _, start, end = taken("scaffold", visit, sent={CONTROL: common}, memory=own)
    for name, slope in wanted.items():
        step = slope.numpy() - own[name] + common[name]
        np.testing.assert_allclose(end[name], start[name] - 0.3 * step, rtol=1e-4, atol=1e-6)


def test_a_control_variate_becomes_the_mean_of_the_gradients_on_the_way():
    common, own, visit, walker = drawn(3), drawn(4), visit_of(), visit_of()
    settings = replace(SGD, epochs=3)
    added, *_ = taken("scaffold", visit, settings, {CONTROL: common}, own)
    sums = {name: np.zeros_like(each) for name, each in own.items()}
    for _ in range(3):  # steps by hand
        slopes = gradient(walker)
        with torch.no_grad():
            for name, each in walker.model.named_parameters():
                sums[name] += slopes[name].numpy() / 3
                correction = torch.from_numpy(common[name] - own[name])
                each -= 0.3 * (slopes[name] + correction)
    for name, mean in sums.items():
        np.testing.assert_allclose(added.memory[name], mean, rtol=1e-3, atol=1e-5)
    assert (added.arrays, added.scalars) == ({}, {RECORD: {STEPS: 3}})


def test_in_the_first_round_nothing_is_corrected():
    turn = part_of("scaffold", {}).begin(Round(visit_of(), SGD, {}, {}))
    assert not turn.terms


@pytest.mark.parametrize(("size", "epochs", "steps"), [(N, 1, 1), (5, 2, 6), (1, 3, 36)])
@pytest.mark.parametrize("strategy", ["fednova", "scaffold"])
def test_a_site_tells_the_steps_that_its_examples_make(strategy, size, epochs, steps):
    added, *_ = taken(strategy, visit_of(), replace(SGD, batch_size=size, epochs=epochs))
    assert added.scalars == {RECORD: {STEPS: steps}}
    keys = {"strategy": strategy, "train.batch-size": size, "train.epochs": epochs}
    possible = RunConfig.from_flat(keys).steps_of(N)
    assert list(possible) == [steps]
    part_of(strategy, {}).check({}, added.scalars, possible)


def test_replays_buffer_makes_more_steps_possible():
    keys = {"method": "replay", "remedy.replay": 200, "train.batch-size": 64, "train.epochs": 2}
    assert RunConfig.from_flat(keys).steps_of(100) == range(4, 11)


@pytest.mark.parametrize("steps", [-1, 0, 3, 7, 10**12])
@pytest.mark.parametrize("strategy", ["fednova", "scaffold"])
def test_steps_that_the_examples_do_not_make_are_refused(strategy, steps):
    with pytest.raises(WireError, match=f"steps is {steps}, and its examples make 4 to 6"):
        part_of(strategy, {}).check({}, {RECORD: {STEPS: steps}}, range(4, 7))


def test_fisher_information_is_the_trained_adaptors_without_masked_findings():
    for one_class in ("train", "mask"):
        visit = visit_of()
        added, *_ = taken("fisher", visit, replace(SGD, one_class=one_class))
        labels = without_one_class(visit.labels) if one_class == "mask" else visit.labels
        wanted = fisher(replace(visit, labels=labels))
        for name, each in added.arrays[FISHER].items():
            np.testing.assert_array_equal(each, wanted[name])
        assert any(each.any() for each in wanted.values())


def test_fisher_information_below_zero_is_refused():
    record = {name: np.ones(shape, np.float32) for name, (shape, _) in SPEC.tensors().items()}
    part = part_of("fisher", {})
    part.check({FISHER: record}, {}, range(1, 2))
    record["log_scale"] = np.array([-1e-9], np.float32)
    with pytest.raises(WireError, match="fisher/log_scale"):
        part.check({FISHER: record}, {}, range(1, 2))


def by_hand(visit, name):
    """Return the second moments of the inputs of a layer of an mlp adaptor."""
    _, side, layer, _ = name.split(".")
    prompts = torch.cat([visit.prompts.positive, visit.prompts.negative], 1).reshape(-1, DIM)
    sides = {"image": [visit.images], "text": [prompts], "shared": [visit.images, prompts]}[side]
    total = 0
    for x in sides:
        x = x / x.norm(dim=-1, keepdim=True)
        if layer == "output":
            x = torch.relu(visit.model.parts[side].hidden(x))
        total = total + x.T @ x / len(x)
    return total.detach()


@pytest.mark.parametrize("wiring", ["double", "shared", "image", "text", "image+offsets"])
def test_second_moments_are_of_what_comes_to_each_linear_layer(wiring):
    visit = visit_of(replace(SPEC, wiring=wiring, findings=len(FINDINGS)))
    found = grams(visit.model, visit)
    assert set(found) == set(linear_layers(visit.model.spec))
    for name, gram in found.items():
        torch.testing.assert_close(gram, by_hand(visit, name))
    assert not any(each._forward_pre_hooks for each in visit.model.modules())


def test_a_probes_second_moments_are_of_what_it_sees():
    visit = visit_of(ProbeSpec(4, DIM, len(FINDINGS)))
    x = visit.images / visit.images.norm(dim=-1, keepdim=True) * DIM**0.5
    hidden = torch.relu(visit.model.hidden(x)).detach()
    found = grams(visit.model, visit)
    torch.testing.assert_close(found["hidden.weight"], x.T @ x / N)
    torch.testing.assert_close(found["output.weight"], hidden.T @ hidden / N)


def test_an_adaptor_without_a_linear_layer_tells_no_second_moments():
    spec = replace(SPEC, wiring="offsets", findings=len(FINDINGS))
    part = part_of("regmean", {})
    assert not part.adds(spec).arrays
    added, *_ = taken("regmean", visit_of(spec))
    assert not added.arrays
    part.check({}, {}, range(1, 2))


@given(seed=st.integers(0, 2**31), rows=st.integers(1, 9), size=st.integers(1, 6))
def test_second_moments_come_back_whole_and_pass(seed, rows, size):
    x = torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))
    gram = x.T @ x / rows
    np.testing.assert_allclose(symmetric(upper(gram)), gram.numpy(), rtol=1e-5, atol=1e-6)
    part_of("regmean", {}).check({GRAM: {"a": upper(gram)}}, {}, range(1, 2))


@pytest.mark.parametrize("triangle", [[-1, 0, 1], [1, 2, 1], [0, 1, 0], [1, 0, -0.5], [-1, 0, -1]])
def test_what_are_no_second_moments_is_refused(triangle):
    with pytest.raises(WireError, match="of no second moments"):
        part_of("regmean", {}).check({GRAM: {"a": np.float32(triangle)}}, {}, range(1, 2))


def test_zeros_are_second_moments():
    part_of("regmean", {}).check({GRAM: {"a": np.zeros(6, np.float32)}}, {}, range(1, 2))
