"""What a tuned adaptor's description promises, and what it refuses."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.adaptors import spec_from_json
from fedretune.errors import UserError
from fedretune.tuning import Layout, read, stand_in, tuned_spec
from fedretune.tuning.layout import Part

LAYOUT = Layout(
    "f" * 64,
    8,
    3,
    5,
    6,
    {"attn.qkv.weight": (24, 8), "attn.qkv.bias": (24,), "mlp.fc1.weight": (16, 8)},
    {"fc_norm.weight": (8,), "fc_norm.bias": (8,), "proj": (8, 6)},
    {
        "q": Part("attn.qkv.weight", 0, 8, 8),
        "v": Part("attn.qkv.weight", 16, 8, 8),
        "fc1": Part("mlp.fc1.weight", 0, 16, 8),
    },
)

name = st.text("abc._", min_size=1, max_size=9)
shape = st.lists(st.integers(0, 4096), max_size=4).map(tuple)
layouts = st.builds(
    Layout,
    st.text("0123456789abcdef", min_size=1, max_size=64),
    *[st.integers(1, 2**31)] * 4,
    st.dictionaries(name, shape, max_size=4),
    st.dictionaries(name, shape, max_size=4),
    st.dictionaries(name, st.builds(Part, name, *[st.integers(0, 9)] * 3), max_size=4),
)


@given(layouts)
def test_a_layout_is_read_as_it_was_written(layout: Layout) -> None:
    assert read(layout.lines()) == layout


@given(st.lists(st.text(max_size=40), max_size=6))
def test_lines_that_are_no_layout_are_an_error(lines: list[str]) -> None:
    with pytest.raises(UserError, match="no layout"):
        read(tuple(lines))


def test_a_spec_is_read_as_it_was_written() -> None:
    spec = tuned_spec(LAYOUT, "lora", findings=3, rank=2, targets=("v", "q"), blocks=2)
    assert spec.targets == ("q", "v")
    assert spec_from_json(spec.to_json()) == spec
    assert json.loads(spec.to_json())["kind"] == "lora"


def test_what_makes_no_difference_is_no_part_of_a_fingerprint() -> None:
    one = tuned_spec(LAYOUT, "bitfit", findings=3, rank=2, alpha=1.0)
    two = tuned_spec(LAYOUT, "bitfit", findings=3, rank=4, blocks=3, scale="7")
    assert one.fingerprint == two.fingerprint


def test_the_tensors_are_those_of_the_tuned_blocks_and_the_head() -> None:
    spec = tuned_spec(LAYOUT, "lora", findings=4, rank=2, blocks=1, targets=("q", "fc1"))
    assert {key: each for key, (each, _) in spec.tensors().items()} == {
        "blocks.2.q.A": (2, 8),
        "blocks.2.q.B": (8, 2),
        "blocks.2.fc1.A": (2, 8),
        "blocks.2.fc1.B": (16, 2),
        "top.fc_norm.weight": (8,),
        "top.fc_norm.bias": (8,),
        "head.weight": (4, 6),
        "head.bias": (4,),
    }
    bitfit = tuned_spec(LAYOUT, "bitfit", blocks=1, head="prompts").tensors()
    assert list(bitfit) == ["log_scale", "blocks.2.attn.qkv.bias", "top.fc_norm.bias"]
    full = tuned_spec(LAYOUT, "full", blocks=1, head="prompts", scale="none").tensors()
    assert len(full) == len(LAYOUT.block) + len(LAYOUT.top)
    assert list(tuned_spec(LAYOUT, "head", findings=4).tensors()) == ["head.weight", "head.bias"]
    assert "blocks.2.q.A" not in tuned_spec(LAYOUT, "lora", findings=1, a_seed=0).tensors()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank": 9}, "adaptor.rank is 9, and the matrices that it goes beside have rank 8"),
        ({"rank": 0}, "adaptor.rank is 0"),
        ({"targets": ("qv",)}, r"Unknown adaptor target 'qv'.*Allowed: fc1, q, v"),
        ({"targets": ("fc2",)}, r"Did you mean 'fc1'\?"),
        ({"targets": ()}, "adaptor.targets names none"),
        ({"blocks": 4}, "the backbone has 3 blocks: give 1 to 3, or 0 for all"),
        ({"alpha": 0.0}, "adaptor.alpha is 0.0"),
        ({"dropout": 1.0}, "adaptor.dropout is 1.0"),
        ({"kind": "lorra"}, r"Unknown adaptor 'lorra'. Did you mean 'lora'\?"),
        ({"head": "mlp"}, "Unknown adaptor.head 'mlp'"),
        ({"kind": "head", "head": "prompts"}, "set adaptor.head = linear"),
        ({"findings": 0}, "adaptor.findings is 0"),
    ],
)
def test_a_value_that_cannot_be_is_an_error_that_says_what_can(values, message) -> None:
    with pytest.raises(UserError, match=message):
        tuned_spec(LAYOUT, **{"kind": "lora", "findings": 3, **values})


def test_a_description_needs_no_torch() -> None:
    program = (
        "import sys; from fedretune.adaptors import TunedSpec; from fedretune.tuning import "
        "stand_in; from scenarios import RunConfig; "
        "RunConfig.from_flat({'adaptor.kind': 'lora'}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_layout_to_check_by_refuses_no_rank() -> None:
    assert tuned_spec(stand_in(), "lora", findings=1, rank=4096).rank == 4096
