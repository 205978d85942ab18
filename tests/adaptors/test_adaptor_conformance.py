"""What everything that is trained must do.

Each test runs for every kind, wiring, residual and scale of adaptor, and for the probes, except
where it is about adaptors alone.
"""

from itertools import product

import numpy as np
import pytest
import torch

from fedretune.adaptors import (
    ADAPTORS,
    WIRINGS,
    AdaptorSpec,
    Model,
    ProbeSpec,
    Spec,
    TunedSpec,
    build,
    from_arrays,
    load,
    load_arrays,
    save,
    to_arrays,
)
from fedretune.objectives.difference import cosines, logits_of, scores
from fedretune.objectives.prompt_embeddings import PromptEmbeddings, directed
from fedretune.training import TrainingSettings, train
from fedretune.tuning import tuned_spec
from tests.tuning.tokens import tiny_trunk

DIM, FINDINGS = 8, 3
ADAPTOR_SPECS = [
    AdaptorSpec(kind, wiring, DIM, residual, scale, FINDINGS)
    for kind, wiring, residual, scale in product(
        ADAPTORS, WIRINGS, (False, True), ("none", "learnable", "7")
    )
    if residual or "offsets" not in wiring
]
ADAPTOR_SPECS += [
    AdaptorSpec("linear", wiring, DIM, True, "learnable", FINDINGS, features=5)
    for wiring in ("offsets", "image+offsets")
]
PROBE_SPECS = [ProbeSpec(0, DIM, FINDINGS), ProbeSpec(5, DIM, FINDINGS)]


def tuned_specs() -> list[TunedSpec]:
    """Return what can be tuned in a transformer of two blocks and two tokens, which is held."""
    trunk = tiny_trunk(DIM)
    kinds = [(kind, head) for kind in ("lora", "bitfit", "full") for head in ("linear", "prompts")]
    specs = [
        tuned_spec(trunk.layout, kind, head=head, findings=FINDINGS, rank=2)
        for kind, head in [*kinds, ("head", "linear")]
    ]
    every = {"findings": FINDINGS, "rank": 3, "targets": ("q", "k", "v", "proj", "fc1", "fc2")}
    return [
        *specs,
        tuned_spec(trunk.layout, "lora", **every, blocks=1, dropout=0.0),
        tuned_spec(trunk.layout, "lora", **every, a_seed=5),
        tuned_spec(trunk.layout, "lora", head="prompts", scale="none", rank=2, dropout=0.5),
    ]


TUNED_SPECS = tuned_specs()


def name_of(spec: Spec) -> str:
    if isinstance(spec, TunedSpec):
        return f"{spec.kind}-{spec.head}-{spec.blocks}-{len(spec.targets)}-{spec.a_seed}"
    if isinstance(spec, ProbeSpec):
        return f"probe-{spec.hidden}"
    kind = f"{spec.kind}-{spec.features}" if spec.features else spec.kind
    return f"{kind}-{spec.wiring}-{'residual' if spec.residual else 'bare'}-{spec.scale}"


every_adaptor = pytest.mark.parametrize("spec", ADAPTOR_SPECS, ids=name_of)
every_model = pytest.mark.parametrize(
    "spec", ADAPTOR_SPECS + PROBE_SPECS + TUNED_SPECS, ids=name_of
)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(spec: Spec, seed: int, n: int) -> torch.Tensor:
    """Return images as `spec` looks at them: vectors, or rows of tokens."""
    return draw(seed, n, spec.row if isinstance(spec, TunedSpec) else DIM)


def prompts() -> PromptEmbeddings:
    names = tuple("abc")
    return PromptEmbeddings(3 * draw(1, FINDINGS, 4, DIM), draw(2, FINDINGS, 2, DIM), names)


def labels(n: int) -> torch.Tensor:
    return (draw(3, n, FINDINGS) > 0).float()


def trained(spec: Spec, seed: int = 0) -> Model:
    adaptor = build(spec, seed)
    settings = TrainingSettings(lr=0.01, epochs=2, batch_size=4)
    train(adaptor, images(spec, 0, 10), labels(10), prompts(), settings, seed)
    return adaptor


@every_model
def test_tensors_are_those_that_the_spec_promises(spec: AdaptorSpec) -> None:
    arrays = to_arrays(build(spec, 0))
    found = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    assert list(found.items()) == list(spec.tensors().items())


@every_model
def test_every_tensor_that_travels_is_a_parameter_and_every_parameter_travels(
    spec: AdaptorSpec,
) -> None:
    adaptor = build(spec, 0)
    assert list(adaptor.state_dict()) == [name for name, _ in adaptor.named_parameters()]


@every_model
def test_a_saved_adaptor_gives_the_same_output_when_loaded(spec: AdaptorSpec, tmp_path) -> None:
    adaptor = trained(spec)
    save(tmp_path / "a.safetensors", spec, to_arrays(adaptor), {"round": 3})
    read, arrays, metadata = load(tmp_path / "a.safetensors")
    other = build(read, seed=99)
    load_arrays(other, arrays)
    assert (read, metadata) == (spec, {"round": 3})
    for mine, theirs in zip(
        cosines(adaptor, images(spec, 4, 5), prompts()),
        cosines(other, images(spec, 4, 5), prompts()),
        strict=True,
    ):
        assert torch.equal(mine, theirs)
    assert torch.equal(adaptor.logit_scale(), other.logit_scale())


@every_model
def test_a_model_made_of_arrays_is_that_of_a_built_one_they_are_loaded_into(
    spec: AdaptorSpec,
) -> None:
    arrays, other = to_arrays(trained(spec)), build(spec, seed=99)
    load_arrays(other, arrays)
    made = from_arrays(spec, arrays)
    assert list(made.state_dict()) == list(other.state_dict())
    assert all(np.array_equal(arrays[name], a) for name, a in to_arrays(made).items())
    assert torch.equal(made.logit_scale(), other.logit_scale())
    assert all(tensor.requires_grad for tensor in made.parameters())


@every_model
def test_two_models_made_of_the_same_arrays_share_no_storage(spec: AdaptorSpec) -> None:
    arrays = to_arrays(trained(spec))
    kept = {name: array.copy() for name, array in arrays.items()}
    teacher, student = from_arrays(spec, arrays), from_arrays(spec, arrays)
    train(student, images(spec, 0, 10), labels(10), prompts(), TrainingSettings(lr=0.01), 0)
    for later in (arrays, to_arrays(teacher), to_arrays(from_arrays(spec, arrays))):
        assert all(np.array_equal(kept[name], array) for name, array in later.items())
    assert any(not np.array_equal(kept[name], a) for name, a in to_arrays(student).items())


@every_adaptor
def test_an_untrained_residual_adaptor_is_zero_shot_and_a_bare_one_is_not(
    spec: AdaptorSpec,
) -> None:
    for pooling in ("mean", "max"):
        adapted = scores(build(spec, 5), draw(4, 9, DIM), prompts(), pooling)
        frozen = scores(None, draw(4, 9, DIM), prompts(), pooling)
        for rule in frozen:
            if spec.features:  # as long as the vector, so that cosines are those over sqrt(2)
                assert torch.allclose(2**0.5 * adapted[rule], frozen[rule], atol=1e-6)
                continue
            assert torch.equal(adapted[rule], frozen[rule]) == spec.residual


@every_model
def test_seeds_reproduce_an_adaptor_and_leave_the_global_generator_alone(spec: AdaptorSpec) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = to_arrays(build(spec, 3))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second, other = to_arrays(build(spec, 3)), to_arrays(build(spec, 4))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    # Nothing of a residual `linear` is drawn: its only layer starts at zero. Nor of offsets.
    all_zero = isinstance(spec, AdaptorSpec) and (
        spec.wiring == "offsets" or (spec.residual and spec.kind == "linear")
    )
    if isinstance(spec, TunedSpec):  # nor of differences from the backbone
        all_zero = spec.head == "prompts" and spec.kind != "lora"
    assert all(np.array_equal(first[name], other[name]) for name in first) == all_zero


@every_model
def test_training_twice_gives_the_same_bits_and_changes_every_tensor(spec: AdaptorSpec) -> None:
    once, again, start = trained(spec), trained(spec), build(spec, 0)
    for name, tensor in once.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
        assert not torch.equal(tensor, start.state_dict()[name])


@every_model
def test_training_leaves_its_inputs_as_they_were(spec: AdaptorSpec) -> None:
    shown, truth, texts = images(spec, 0, 6), labels(6), prompts()
    train(build(spec, 0), shown, truth, texts, TrainingSettings(epochs=1), 0)
    assert torch.equal(shown, images(spec, 0, 6))
    assert torch.equal(truth, labels(6))
    assert torch.equal(texts.positive, prompts().positive)


@every_adaptor
def test_only_the_wired_side_is_adapted(spec: AdaptorSpec) -> None:
    adaptor, x = trained(spec), draw(6, 4, DIM)
    positive, negative = draw(7, FINDINGS, 4, DIM), draw(8, FINDINGS, 2, DIM)
    adapted = adaptor.text(PromptEmbeddings(positive, negative, tuple("abc")))
    assert torch.equal(adaptor.image(directed(x))[:, :DIM], x) == (
        spec.wiring in ("text", "offsets")
    )
    for prompt, after in zip((positive, negative), adapted, strict=True):
        before = torch.nn.functional.pad(prompt, (0, spec.features))
        assert torch.equal(after, before) == (spec.wiring == "image")
        if not spec.features:
            assert torch.equal(adaptor.image(directed(before)), after) == (spec.wiring == "shared")


@pytest.mark.parametrize(
    "spec",
    [
        AdaptorSpec("mlp", "offsets", DIM, True, "7", FINDINGS),
        AdaptorSpec("mlp", "offsets", DIM, True, "7", FINDINGS, features=9),
        ProbeSpec(0, DIM, FINDINGS),
    ],
    ids=name_of,
)
def test_what_findings_do_not_share_is_not_changed_by_another_findings_labels(spec) -> None:
    model, truth = build(spec, 0), labels(10)
    before = scores(model, draw(0, 10, DIM), prompts())["difference"]
    truth[:, [0, 2]] = torch.nan
    train(model, draw(0, 10, DIM), truth, prompts(), TrainingSettings(lr=0.01, epochs=2), 0)
    after = scores(model, draw(0, 10, DIM), prompts())["difference"]
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.equal(before[:, 1], after[:, 1])


@every_adaptor
def test_pooled_prompts_are_the_means_of_the_adapted_ones_with_the_same_gradient(
    spec: AdaptorSpec,
) -> None:
    found = []
    for pooled in (
        lambda model: model.pooled(prompts()),
        lambda model: torch.stack([each.mean(1) for each in model.text(prompts())], dim=1),
    ):
        model = trained(spec)
        for parameter in model.parameters():
            parameter.requires_grad_().grad = torch.zeros_like(parameter)
        means = pooled(model)
        if means.requires_grad:
            (means * draw(5, *means.shape)).sum().backward()
        found.append([means.detach(), *(p.grad.clone() for p in model.parameters())])
    for ours, plain in zip(*found, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-5, atol=1e-4)


@every_model
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_logits_are_the_scaled_differences_of_the_scores(spec: Spec, pooling: str) -> None:
    model, given = trained(spec), images(spec, 4, 5)
    logits = logits_of(model, given, prompts(), pooling)
    scored = scores(model, given, prompts(), pooling)["difference"]
    assert torch.allclose(logits, model.logit_scale() * scored, atol=1e-5)


@every_model
def test_a_batch_without_labels_gives_no_gradient(spec: AdaptorSpec) -> None:
    adaptor = build(spec, 0)
    before = to_arrays(adaptor)
    nothing = torch.full((5, FINDINGS), torch.nan)
    given = images(spec, 0, 5)
    result = train(adaptor, given, nothing, prompts(), TrainingSettings(epochs=1), 0)
    assert result.loss == 0.0
    assert all(np.array_equal(before[name], after) for name, after in to_arrays(adaptor).items())
    assert all((p.grad == 0).all() for p in adaptor.parameters())


@every_adaptor
def test_the_scale_is_what_the_spec_says(spec: AdaptorSpec) -> None:
    expected = {"none": 1.0, "learnable": 10.0, "7.0": 7.0}[spec.scale]
    assert build(spec, 0).logit_scale().item() == pytest.approx(expected, rel=1e-6)
