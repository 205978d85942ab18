"""Averaging LoRA: the mean of products is that of the merged weights, and nothing else is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedretune.adaptors import TunedSpec, build, load_arrays, to_arrays
from fedretune.embeddings.prompts import PromptEmbeddings
from fedretune.training import TrainingSettings, train
from fedretune.tuning import Layout, held, tuned_spec, use
from fedretune.tuning.layout import Part
from server.strategies.fedavg import fedavg
from server.strategies.fold import Setup, Update
from server.strategies.products import RESIDUAL, ProductFold, aligned, pairs, refactored

OUT, IN = 6, 9
LAYOUT = Layout("0" * 64, IN, 1, 2, IN, parts={"q": Part("w", 0, OUT, IN)})
Arrays = dict[str, np.ndarray]


def spec_of(rank: int, **more: object) -> TunedSpec:
    return tuned_spec(LAYOUT, "lora", rank=rank, targets=("q",), head="prompts", **more)


def product(arrays: Arrays, name: str = "blocks.0.q") -> np.ndarray:
    return arrays[f"{name}.B"].astype(np.float64) @ arrays[f"{name}.A"].astype(np.float64)


def mean_of(values: list[np.ndarray], weights: list[int]) -> np.ndarray:
    return np.average(np.stack(values), axis=0, weights=weights)


def averaged(spec, start: Arrays, replies: list[Arrays], weights: list[int], exact: bool = True):
    setup = Setup({}, spec, len(replies))
    fold = fedavg(setup, start, {})
    if exact:
        fold = ProductFold(setup, start, fold)
    for site, (arrays, examples) in enumerate(zip(replies, weights, strict=True)):
        fold.add(Update(f"site-{site}", arrays, examples))
    return fold.result()


def drawn(spec: TunedSpec, seed: int, same_a: Arrays | None = None) -> Arrays:
    """Return a start, or, given one, what a site might make of it; of the same A if so wanted."""
    rng = np.random.default_rng(seed)
    arrays = to_arrays(build(spec, seed))
    arrays["blocks.0.q.B"] = rng.normal(size=(OUT, spec.stacked)).astype(np.float32)
    if same_a is not None and "blocks.0.q.A" in arrays:
        arrays["blocks.0.q.A"] = same_a["blocks.0.q.A"].copy()
    return arrays


weights = st.lists(st.integers(1, 900), min_size=2, max_size=5)


@given(weights, st.integers(1, OUT), st.integers(0, 99))
def test_of_the_same_a_exact_is_the_mean_of_the_merged_weights(weights, rank, seed) -> None:
    spec = spec_of(rank)
    start = to_arrays(build(spec, seed))
    replies = [drawn(spec, seed + 1 + i, start) for i in range(len(weights))]
    found, state = averaged(spec, start, replies, weights)
    expected = mean_of([product(each) for each in replies], weights)
    np.testing.assert_allclose(product(found), expected, atol=1e-5)
    assert state[RESIDUAL]["share"][0] < 1e-9


@given(weights, st.integers(1, 3), st.integers(0, 99))
def test_of_other_as_exact_is_the_nearest_matrix_of_its_rank_and_tells_the_rest(
    weights, rank, seed
) -> None:
    spec = spec_of(rank)
    start = to_arrays(build(spec, seed))
    replies = [drawn(spec, seed + 1 + i) for i in range(len(weights))]
    found, state = averaged(spec, start, replies, weights)
    expected = mean_of([product(each) for each in replies], weights)
    values = np.square(np.linalg.svd(expected, compute_uv=False))
    error = np.square(product(found) - expected).sum()
    assert error == pytest.approx(values[rank:].sum(), rel=1e-4, abs=1e-9)
    assert state[RESIDUAL]["share"][0] == pytest.approx(
        values[rank:].sum() / values.sum(), abs=1e-9
    )


def test_of_other_as_averaging_factors_is_not_the_mean_of_the_merged_weights() -> None:
    spec = spec_of(2)
    replies = [drawn(spec, 1), drawn(spec, 2)]
    found, _ = averaged(spec, drawn(spec, 0), replies, [1, 1], exact=False)
    expected = mean_of([product(each) for each in replies], [1, 1])
    assert np.abs(product(found) - expected).max() > 0.05 * np.abs(expected).max()


@given(weights, st.integers(1, 2), st.integers(0, 99))
def test_with_room_for_the_residual_nothing_is_lost(weights, rank, seed) -> None:
    spec = spec_of(rank, kept=(len(weights) - 1) * rank if len(weights) * rank <= OUT else OUT)
    start = to_arrays(build(spec, seed))
    replies = [drawn(spec, seed + 1 + i) for i in range(len(weights))]
    for each in replies:  # a site trains the last rows and columns alone
        each["blocks.0.q.B"][:, : spec.kept] = 0
    found, state = averaged(spec, start, replies, weights)
    expected = mean_of([product(each) for each in replies], weights)
    np.testing.assert_allclose(product(found), expected, atol=1e-5)
    assert state[RESIDUAL]["share"][0] < 1e-9
    trained = product(
        {
            name: each[..., spec.kept :] if name.endswith("B") else each[spec.kept :]
            for name, each in found.items()
            if "blocks" in name
        }
    )
    kept = expected - trained
    assert np.linalg.norm(kept) <= np.linalg.norm(trained) * 2  # the largest are trained on


@given(weights, st.integers(0, 99))
def test_with_a_frozen_the_mean_of_b_is_the_mean_of_the_products(weights, seed) -> None:
    spec = spec_of(2, a_seed=seed)
    replies = [drawn(spec, seed + 1 + i) for i in range(len(weights))]
    found, _ = averaged(spec, drawn(spec, seed), replies, weights, exact=False)
    model = build(spec, 0)
    a = model.factors("blocks.0.q")[0].numpy().astype(np.float64)
    merged = [each["blocks.0.q.B"].astype(np.float64) @ a for each in replies]
    np.testing.assert_allclose(found["blocks.0.q.B"] @ a, mean_of(merged, weights), atol=1e-4)
    assert torch.equal(model.factors("blocks.0.q")[0], build(spec, 7).factors("blocks.0.q")[0])
    assert "blocks.0.q.A" not in found


def test_sites_of_smaller_ranks_send_zeros_and_their_products_are_averaged() -> None:
    spec = spec_of(3)
    start, replies = drawn(spec, 0), []
    for seed, rank in ((1, 1), (2, 3), (3, 2)):
        model = build(spec, 0)
        load_arrays(model, drawn(spec, seed, start))
        model.narrow(rank)
        assert np.linalg.matrix_rank(product(to_arrays(model))) == rank
        replies.append(to_arrays(model))
    found, _ = averaged(spec, start, replies, [5, 1, 2])
    expected = mean_of([product(each) for each in replies], [5, 1, 2])
    np.testing.assert_allclose(product(found), expected, atol=1e-5)


def test_where_nothing_was_learnt_b_is_zero_and_a_can_learn() -> None:
    a, b, _ = refactored(np.zeros((OUT, IN)), np.random.default_rng(0).normal(size=(3, IN)), 0.5)
    assert not b.any()
    np.testing.assert_allclose(a @ a.T, 0.25 * np.eye(3), atol=1e-12)


@given(weights, st.integers(1, 3), st.integers(0, 99))
def test_of_the_same_a_that_a_stays_and_b_is_the_mean(weights, rank, seed) -> None:
    spec = spec_of(rank)
    start = to_arrays(build(spec, seed))
    replies = [drawn(spec, seed + 1 + i, start) for i in range(len(weights))]
    found, _ = averaged(spec, start, replies, weights)
    plain, _ = averaged(spec, start, replies, weights, exact=False)
    for factor in "AB":
        name = f"blocks.0.q.{factor}"
        np.testing.assert_allclose(found[name], plain[name], atol=1e-4)


def test_factors_are_turned_to_the_same_product_unless_that_would_blow_them_up() -> None:
    rng = np.random.default_rng(0)
    a, b, _ = refactored(rng.normal(size=(OUT, IN)), rng.normal(size=(3, IN)), 0.5)
    near = a + 0.1 * rng.normal(size=a.shape)
    turned = aligned(a, b, near)
    np.testing.assert_allclose(turned[1] @ turned[0], b @ a, atol=1e-10)
    assert np.abs(turned[0] - near).max() < 0.5
    beside = np.stack([a[0], a[1], np.linalg.svd(a)[2][-1]])  # nothing of a's third direction
    assert all(map(np.array_equal, aligned(a, b, beside), (a, b)))


def test_another_stage_stays_what_it_is_to_the_bit() -> None:
    spec = spec_of(2, stages=3)
    start, replies = drawn(spec, 0), []
    for seed in (1, 2):
        reply = {name: each.copy() for name, each in start.items()}
        other = drawn(spec, seed)
        reply["blocks.0.q.A"][2:4] = other["blocks.0.q.A"][2:4]
        reply["blocks.0.q.B"][:, 2:4] = other["blocks.0.q.B"][:, 2:4]
        replies.append(reply)
    found, _ = averaged(spec, start, replies, [1, 3])
    for part in (slice(0, 2), slice(4, 6)):
        np.testing.assert_array_equal(found["blocks.0.q.A"][part], start["blocks.0.q.A"][part])
        np.testing.assert_array_equal(
            found["blocks.0.q.B"][:, part], start["blocks.0.q.B"][:, part]
        )
    assert not np.array_equal(found["blocks.0.q.A"][2:4], start["blocks.0.q.A"][2:4])


def test_one_site_alone_is_not_touched() -> None:
    spec = spec_of(2)
    reply = drawn(spec, 1)
    found, _ = averaged(spec, drawn(spec, 0), [reply], [9])
    assert all(np.array_equal(found[name], reply[name]) for name in reply)


@pytest.mark.parametrize(("steps", "close"), [(1, True), (2, False)])
def test_after_one_step_all_as_are_the_same_and_after_two_they_are_not(
    backbones, steps, close
) -> None:
    layout = use(backbones["open_clip"])
    # Room for the residual, so that `exact` is exact after two steps too.
    spec = tuned_spec(layout, "lora", rank=2, blocks=1, head="prompts", dropout=0.0, kept=2)
    start, replies = to_arrays(build(spec, 0)), []
    prompts = PromptEmbeddings(torch.randn(3, 2, 24), torch.randn(3, 2, 24), tuple("abc"))
    settings = TrainingSettings(optimizer="sgd", lr=1.0, epochs=steps, batch_size=8)
    for site in (1, 2):
        model, generator = build(spec, 0), torch.Generator().manual_seed(site)
        rows = torch.randn(8, spec.row, generator=generator)
        labels = (torch.rand(8, 3, generator=generator) > 0.5).float()
        train(model, rows, labels, prompts, settings, seed=site)
        replies.append(to_arrays(model))
    found = {exact: averaged(spec, start, replies, [3, 1], exact)[0] for exact in (True, False)}
    assert held(layout.backbone).layout == layout
    apart = 0.0
    for name in pairs(spec):
        expected = mean_of([product(each, name) for each in replies], [3, 1])
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(product(found[True], name), expected, atol=1e-5)
        apart = max(apart, float(np.abs(product(found[False], name) - expected).max()))
    assert (apart < 1e-5) == close
