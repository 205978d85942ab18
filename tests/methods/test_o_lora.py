"""O-LoRA's term: how much an experience's factors overlap with those before it."""

import numpy as np
import pytest
import torch

from fedretune.adaptors import build
from fedretune.methods import method_of, remedies_of
from fedretune.methods.method import Visit
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.tuning import Layout, tuned_spec
from fedretune.tuning.layout import Part

PARTS = {"q": Part("w", 0, 6, 5), "v": Part("w", 6, 6, 5)}
LAYOUT = Layout("0" * 64, 5, 2, 1, 5, parts=PARTS)


def visit(stage: int) -> Visit:
    model = build(tuned_spec(LAYOUT, "lora", head="prompts", rank=2, stages=3), 0)
    model.stage = stage
    nothing = torch.zeros(1, 1)
    prompts = PromptEmbeddings(nothing, nothing, ("a",))
    return Visit(model, nothing, nothing, nothing.bool(), prompts, "mean", stage, 0)


def test_the_first_experience_has_nothing_to_be_orthogonal_to() -> None:
    (remedy,) = remedies_of(method_of("o-lora"), {"o_lora": 0.5})
    assert remedy.terms({}, visit(0)) == []


def test_it_is_the_squares_of_all_products_of_rows_and_moves_the_new_ones_alone() -> None:
    (remedy,) = remedies_of(method_of("o-lora"), {"o_lora": 0.5})
    shown = visit(2)
    (term,) = remedy.terms({}, shown)
    value = term(torch.arange(1), torch.zeros(1, 1))
    expected = 0.0
    for name, each in shown.model.named_parameters():
        if name.endswith(".A"):
            a = each.detach().numpy().astype(np.float64)
            expected += sum((a[i] @ a[j]) ** 2 for i in range(4) for j in (4, 5))
    assert value.item() == pytest.approx(0.5 * expected, rel=1e-5)
    value.backward()
    for name, each in shown.model.named_parameters():
        if name.endswith(".A"):
            assert not each.grad[:4].any()
            assert each.grad[4:].any()
