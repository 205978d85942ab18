import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedretune.adaptors import (
    ADAPTORS,
    WIRINGS,
    AdaptorSpec,
    ProbeSpec,
    build,
    load_arrays,
    spec_from_json,
    to_arrays,
)
from fedretune.adaptors.features import RandomFeatures
from fedretune.errors import UserError
from fedretune.objectives.prompt_embeddings import PromptEmbeddings, directed

dims, findings = st.integers(1, 2048), st.integers(1, 40)
specs = st.builds(
    AdaptorSpec,
    kind=st.sampled_from(sorted(ADAPTORS)),
    wiring=st.sampled_from(sorted(WIRINGS)),
    dim=dims,
    residual=st.just(True),
    scale=st.sampled_from(["none", "learnable"]) | st.floats(1e-3, 1e3).map(str),
    findings=findings,
) | st.builds(ProbeSpec, st.integers(0, 8), dims, findings)


@given(specs)
def test_a_spec_survives_json(spec: AdaptorSpec | ProbeSpec) -> None:
    assert spec_from_json(spec.to_json()) == spec


@given(specs, specs)
def test_fingerprints_agree_exactly_where_specs_do(
    one: AdaptorSpec | ProbeSpec, other: AdaptorSpec | ProbeSpec
) -> None:
    assert (one.fingerprint == other.fingerprint) == (one == other)


def test_two_spellings_of_a_scale_are_one_adaptor() -> None:
    ten = [AdaptorSpec("mlp", "double", 4, True, text) for text in ("10", "10.0", "1e1")]
    assert len({spec.fingerprint for spec in ten}) == 1


def test_the_payload_is_the_one_that_was_calculated() -> None:
    def size(kind: str, dim: int) -> int:
        shapes = AdaptorSpec(kind, "double", dim, False, "none").tensors().values()
        return sum(4 * int(np.prod(shape)) for shape, _ in shapes)

    assert (size("linear", 128), size("mlp", 128)) == (132_096, 527_360)
    assert (size("linear", 512), size("mlp", 512)) == (2_101_248, 8_400_896)


def test_tensors_are_known_without_torch() -> None:
    code = (
        "import sys; from fedretune.adaptors import AdaptorSpec; "
        "AdaptorSpec('mlp', 'double', 8, True, 'learnable').tensors(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "mpl"}, "Did you mean 'mlp'"),
        ({"wiring": "both"}, "double, image, image.offsets, offsets, shared, text"),
        ({"wiring": "offsets"}, "adaptor.findings is 0"),
        ({"features": 9}, "adaptor.features = 9 needs adaptor.wiring = offsets"),
        ({"features": -1}, "adaptor.features is -1"),
        ({"wiring": "offsets", "findings": 3, "residual": False}, "set adaptor.residual = true"),
        ({"dim": 0}, "adaptor.dim is 0"),
        ({"dim": 8.0}, "adaptor.dim is 8.0"),
        ({"residual": "yes"}, "adaptor.residual is 'yes'"),
        ({"scale": "-1"}, "adaptor.scale is '-1'"),
        ({"scale": "inf"}, "adaptor.scale is 'inf'"),
        ({"scale": "big"}, "none, learnable, or a positive number"),
        ({"scale": 10}, "adaptor.scale is 10"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(change: dict, named: str) -> None:
    right = {"kind": "mlp", "wiring": "double", "dim": 8, "residual": True, "scale": "none"}
    with pytest.raises(UserError, match=named):
        AdaptorSpec(**(right | change))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "mlp"}', "null"])
def test_json_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="adaptor's description"):
        spec_from_json(text)


@pytest.mark.parametrize("values", [(-1, 4, 3), (0, 0, 3), (0, 4, 0), (0.5, 4, 3)])
def test_a_probe_that_cannot_be_is_refused(values: tuple) -> None:
    with pytest.raises(UserError, match="probe"):
        ProbeSpec(*values)


def test_initialisation_is_torchs_own() -> None:
    ours = build(AdaptorSpec("linear", "image", 16, False, "none"), 7).parts["image"].output
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        torchs = torch.nn.Linear(16, 16)
    torch.testing.assert_close(ours.weight, torchs.weight)
    torch.testing.assert_close(ours.bias, torchs.bias)


def test_the_bare_mlp_is_the_precursors_forward_pass() -> None:
    adaptor = build(AdaptorSpec("mlp", "double", 6, False, "none"), 0)
    a, x = to_arrays(adaptor), np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)

    def image(x: torch.Tensor) -> torch.Tensor:
        return adaptor.image(directed(x))

    def text(prompts: torch.Tensor) -> torch.Tensor:
        return adaptor.text(PromptEmbeddings(prompts[None], prompts[None], ("a",)))[1][0]

    for side, found in (("image", image), ("text", text)):
        hidden = x @ a[f"parts.{side}.hidden.weight"].T + a[f"parts.{side}.hidden.bias"]
        output = np.maximum(hidden, 0) @ a[f"parts.{side}.output.weight"].T
        expected = output + a[f"parts.{side}.output.bias"]
        np.testing.assert_allclose(found(torch.from_numpy(x)).detach(), expected, atol=1e-6)


@given(st.floats(0.01, 1000))
def test_a_residual_adaptor_turns_a_vector_the_same_way_whatever_its_length(length: float) -> None:
    adaptor = build(AdaptorSpec("mlp", "shared", 4, True, "none"), 0)
    with torch.no_grad():
        adaptor.parts["shared"].output.weight.fill_(0.3)
    x = torch.tensor([[0.3, -1.0, 0.5, 0.1]])
    torch.testing.assert_close(
        adaptor.image(directed(length * x)), length * adaptor.image(directed(x))
    )


def test_a_vector_of_zeros_stays_finite() -> None:
    adaptor = build(AdaptorSpec("mlp", "shared", 4, True, "none"), 0)
    assert torch.isfinite(adaptor.image(directed(torch.zeros(1, 4)))).all()


@pytest.mark.parametrize(("start", "expected"), [(50.0, 100.0), (-50.0, 1.0)])
def test_a_learnable_scale_is_clamped_and_finds_its_way_back(start: float, expected: float) -> None:
    adaptor = build(AdaptorSpec("linear", "double", 4, False, "learnable"), 0)
    with torch.no_grad():
        adaptor.log_scale.fill_(start)
    scale = adaptor.logit_scale()
    scale.backward()
    assert scale.item() == pytest.approx(expected, rel=1e-4)
    assert adaptor.log_scale.grad is not None
    assert adaptor.log_scale.grad.item() > 0


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda a: a.pop("parts.image.output.bias"), "'parts.image.output.bias' is missing"),
        (lambda a: a.update(image_row=np.zeros(4, np.float32)), "'image_row' is not one of"),
        (lambda a: a.update({"parts.text.output.bias": np.zeros(1, np.float32)}), r"shape \(1,\)"),
        (lambda a: a.update({"parts.text.output.bias": np.zeros(4)}), "is float64"),
    ],
)
def test_arrays_that_are_not_the_adaptors_change_nothing(damage, named: str) -> None:
    adaptor = build(AdaptorSpec("linear", "double", 4, False, "none"), 0)
    before, arrays = to_arrays(adaptor), {n: a + 1 for n, a in to_arrays(adaptor).items()}
    damage(arrays)
    with pytest.raises(UserError, match=named):
        load_arrays(adaptor, arrays)
    assert all(np.array_equal(before[n], a) for n, a in to_arrays(adaptor).items())


def test_arrays_are_a_copy() -> None:
    adaptor = build(AdaptorSpec("linear", "double", 4, False, "none"), 0)
    to_arrays(adaptor)["parts.image.output.bias"][:] = 9
    assert (adaptor.parts["image"].output.bias != 9).all()


def test_random_features_are_unit_parts_of_the_vectors_length_and_the_same_everywhere() -> None:
    code = (
        "from fedretune.adaptors.features import RandomFeatures as R; import torch; "
        "from fedretune.objectives.prompt_embeddings import directed as d; "
        "torch.manual_seed(3); print(R(6, 4)(d(torch.arange(6.0))).tolist())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    found = RandomFeatures(6, 4)(directed(torch.arange(6.0)))
    assert str(found.tolist()) == elsewhere.stdout.strip()
    x = torch.randn(9, 6)
    torch.testing.assert_close(RandomFeatures(6, 40)(directed(x)).norm(dim=-1), x.norm(dim=-1))
