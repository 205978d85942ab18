"""The closed form that joins two towers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedretune.backbones.towers.fit import join

Array = np.ndarray


def pairs(seed: int, n: int = 400, p: int = 7, q: int = 5) -> tuple[Array, Array, Array]:
    """Return images, one sentence each, that share two hidden numbers, and which is whose."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 2))
    images = hidden @ rng.normal(size=(2, p)) + rng.normal(size=(n, p)) + 3.0
    sentences = hidden @ rng.normal(size=(2, q)) + rng.normal(size=(n, q)) - 2.0
    return images, sentences, np.eye(n)


def canonical_correlations(x: Array, y: Array) -> Array:
    """The textbook's way: singular values between orthonormal bases (Björck & Golub 1973)."""
    bases = [np.linalg.qr(each - each.mean(0))[0] for each in (x, y)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


@pytest.mark.parametrize("seed", range(3))
def test_without_a_ridge_these_are_the_canonical_correlations(seed: int) -> None:
    images, sentences, true = pairs(seed)
    joint = join(images, sentences, true, 5, 0, (0.0, 0.0))
    np.testing.assert_allclose(
        joint.correlations, canonical_correlations(images, sentences), atol=1e-9
    )


def test_an_image_is_nearest_to_what_is_true_of_it() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, 600)
    images = rng.normal(size=(4, 9))[kinds] * 3 + rng.normal(size=(600, 9))
    sentences = rng.normal(size=(4, 6))
    joint = join(images, sentences, np.eye(4)[kinds], 3, 4, (0.1, 0.01))
    seen = images @ joint.image.T + joint.offset
    told = sentences @ joint.text.T
    cosine = (seen / np.linalg.norm(seen, axis=1, keepdims=True)) @ (
        told / np.linalg.norm(told, axis=1, keepdims=True)
    ).T
    assert (cosine.argmax(axis=1) == kinds).mean() > 0.9


@settings(max_examples=20)
@given(counts=arrays(np.int64, (30, 4), elements=st.integers(1, 5)), seed=st.integers(0, 99))
def test_the_coordinates_are_centred_balanced_and_what_the_text_has_not_is_zero(
    counts: Array, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    images, sentences = rng.normal(size=(30, 8)), rng.normal(size=(4, 5))
    joint = join(images, sentences, counts.astype(float), 2, 3, (0.5, 0.1))
    seen = images @ joint.image.T + joint.offset
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-9)
    shared, own = (seen[:, :2] ** 2).sum(), (seen[:, 2:] ** 2).sum()
    np.testing.assert_allclose(shared, own, rtol=1e-6)
    assert not joint.text[2:].any()
    assert (np.abs(joint.image[2:] @ joint.image[:2].T) < 1e-9).all()


def test_a_sentence_said_twice_counts_twice() -> None:
    images, sentences, _ = pairs(5, n=40)
    said = np.random.default_rng(1).integers(1, 4, (40, 40)).astype(float)
    said /= said.sum(1, keepdims=True)
    whole = join(images, sentences, said, 3, 1, (0.2, 0.2))
    scaled = join(images, sentences, said * 7, 3, 1, (0.2, 0.2))
    np.testing.assert_allclose(whole.correlations, scaled.correlations)
    twice = np.concatenate([said / 2, said / 2], axis=1)
    doubled = join(images, np.concatenate([sentences] * 2), twice, 3, 1, (0.2, 0.2))
    np.testing.assert_allclose(whole.correlations, doubled.correlations)
