import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from fedretune.adaptors import AdaptorSpec, build, to_arrays
from fedretune.errors import UserError
from fedretune.objectives.difference import (
    WEIGHT_CAP,
    cosines,
    masked_bce,
    positive_weights,
    scores,
    split_labels,
    without_one_class,
)
from fedretune.objectives.prompt_embeddings import PromptEmbeddings

NAN = float("nan")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prompts(findings: int = 3, dim: int = 6) -> PromptEmbeddings:
    names = tuple("abcdef"[:findings])
    return PromptEmbeddings(draw(1, findings, 4, dim), draw(2, findings, 2, dim), names)


def reference(arrays, images, texts, pooling):
    """Cosines of a bare double mlp, one image and one finding at a time, in float64."""

    def adapt(side, x):
        w = {n.removeprefix(f"parts.{side}."): a.astype(np.float64) for n, a in arrays.items()}
        hidden = np.maximum(w["hidden.weight"] @ x + w["hidden.bias"], 0)
        return w["output.weight"] @ hidden + w["output.bias"]

    def cosine(x, y):
        return x @ y / (np.linalg.norm(x) * np.linalg.norm(y))

    found = np.empty((len(images), len(texts)))
    for i, image in enumerate(images.numpy()):
        for f, finding in enumerate(texts.numpy()):
            x, adapted = adapt("image", image), [adapt("text", prompt) for prompt in finding]
            each = [cosine(x, prompt) for prompt in adapted]
            found[i, f] = max(each) if pooling == "max" else cosine(x, np.mean(adapted, 0))
    return found


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_cosines_are_those_of_the_precursors_formula(pooling: str) -> None:
    adaptor = build(AdaptorSpec("mlp", "double", 6, False, "none"), 0)
    images, texts = draw(0, 5, 6), prompts()
    positive, negative = cosines(adaptor, images, texts, pooling)
    arrays = to_arrays(adaptor)
    for found, side in ((positive, texts.positive), (negative, texts.negative)):
        expected = reference(arrays, images, side, pooling)
        np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)


def test_zero_shot_is_the_cosine_with_the_mean_prompt() -> None:
    images, texts = draw(0, 5, 6), prompts()
    positive, _ = cosines(None, images, texts)
    expected = F.cosine_similarity(images[:, None], texts.positive.mean(1)[None], dim=-1)
    torch.testing.assert_close(positive, expected)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_scores_are_the_difference_and_the_positive_cosine(pooling: str) -> None:
    positive, negative = cosines(None, draw(0, 5, 6), prompts(), pooling)
    found = scores(None, draw(0, 5, 6), prompts(), pooling)
    assert list(found) == ["difference", "positive"]
    assert torch.equal(found["difference"], positive - negative)
    assert torch.equal(found["positive"], positive)


def test_scores_carry_no_gradient() -> None:
    adaptor = build(AdaptorSpec("mlp", "double", 6, False, "none"), 0)
    assert not any(s.requires_grad for s in scores(adaptor, draw(0, 5, 6), prompts()).values())


@given(st.floats(1e-3, 1e3))
def test_zero_shot_cosines_do_not_depend_on_the_images_lengths(length: float) -> None:
    torch.testing.assert_close(
        cosines(None, length * draw(0, 5, 6), prompts())[0],
        cosines(None, draw(0, 5, 6), prompts())[0],
    )


def test_an_unknown_pooling_is_named() -> None:
    with pytest.raises(UserError, match=r"'avg'.*Allowed: max, mean"):
        cosines(None, draw(0, 5, 6), prompts(), "avg")


@given(st.integers(0, 10_000))
def test_the_loss_is_torchs_over_the_labelled_entries(seed: int) -> None:
    logits, drawn = 3 * draw(seed, 7, 4), draw(seed + 1, 7, 4)
    labels = torch.where(drawn > 1, torch.nan, (drawn > 0).float())
    weights = draw(seed + 2, 4).exp()
    known = ~labels.isnan()
    found = masked_bce(logits, *split_labels(labels), weights)
    each = [
        F.binary_cross_entropy_with_logits(x, y, pos_weight=w)
        for x, y, w in zip(logits[known], labels[known], weights.expand(7, 4)[known], strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(each).mean() if each else torch.tensor(0.0))


def test_an_unlabelled_entry_gets_no_gradient() -> None:
    logits = draw(0, 2, 2).requires_grad_()
    masked_bce(logits, *split_labels(torch.tensor([[1.0, NAN], [NAN, 0.0]]))).backward()
    assert logits.grad is not None
    assert ((logits.grad != 0) == torch.tensor([[True, False], [False, True]])).all()


def test_a_batch_without_labels_costs_nothing_and_moves_nothing() -> None:
    logits = draw(0, 2, 2).requires_grad_()
    loss = masked_bce(logits, *split_labels(torch.full((2, 2), NAN)))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(2, 2))


LABELS = torch.tensor(
    [
        [1, 1, 0, NAN, 1],
        [0, 1, 0, NAN, NAN],
        [0, 1, 0, NAN, 0],
        [0, NAN, 0, NAN, 0],
        [0, NAN, NAN, NAN, 0],
    ]
)


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        ("none", [1, 1, 1, 1, 1]),
        ("full", [4, 1, 1, 1, 3]),
        ("sqrt", [2, 1, 1, 1, 3**0.5]),
    ],
)
def test_weights_come_from_the_labelled_counts(balance: str, expected: list[float]) -> None:
    expect = torch.tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(positive_weights(LABELS, balance), expect)


def test_full_weights_make_both_classes_count_the_same() -> None:
    labels = (draw(0, 200, 1) > 1).float()
    positives = labels.sum().item()
    weight = positive_weights(labels, "full").item()
    assert weight * positives == pytest.approx(len(labels) - positives)


def test_a_weight_is_capped() -> None:
    labels = torch.zeros(1000, 1)
    labels[0] = 1
    assert positive_weights(labels, "full").item() == WEIGHT_CAP


def test_an_unknown_balance_is_named() -> None:
    with pytest.raises(UserError, match="balance 'half'"):
        positive_weights(LABELS, "half")


def test_a_finding_of_one_class_is_masked_and_no_other():
    nan = torch.nan
    labels = torch.tensor([[0.0, 1.0, nan, 1.0], [0.0, 0.0, nan, 1.0], [nan, nan, nan, nan]])
    masked = without_one_class(labels)
    assert masked.isnan().all(0).tolist() == [True, False, True, True]
    assert torch.equal(masked[:2, 1], labels[:2, 1])
