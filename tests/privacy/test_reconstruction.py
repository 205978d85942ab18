"""A picture from a recovered vector, and what is drawn of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from fedretune.privacy.attacks.reconstruction import (
    Search,
    correlation,
    decoded,
    reconstruct,
    variation,
)
from tests.cli.conftest import fedretune, out, refused, tiny  # noqa: F401

SIDE, DIM = 16, 40
QUICK = Search(steps=25)


@pytest.fixture(scope="module")
def seen():
    """Return images of a few smooth shapes, and a backbone that bends what it sees of them."""
    generator = torch.Generator().manual_seed(2)
    small = torch.randn(60, 1, 4, 4, generator=generator)
    images = torch.nn.functional.interpolate(small, size=(SIDE, SIDE), mode="bicubic")[:, 0]
    weights = torch.randn(3 * SIDE * SIDE, DIM, generator=generator) / SIDE

    def encode(batch):
        return torch.tanh(batch.flatten(1) @ weights / 3)

    return images, encode, encode(images[:, None].expand(-1, 3, -1, -1))


def test_an_image_comes_back_better_than_the_mean_of_the_others_and_than_without_the_backbone(seen):
    images, encode, vectors = seen
    public, told = images[10:], vectors[10:]
    mean, figures = public.mean(0), []
    for image, direction in zip(images[:5], vectors[:5], strict=True):
        start = decoded(direction, told, public)
        made = reconstruct(encode, direction, public, start, QUICK)
        figures.append([correlation(each, image) for each in (made, start, mean)])
        assert made.min() >= public.min() - 1e-5
        assert made.max() <= public.max() + 1e-5
    made, start, mean = np.mean(figures, axis=0)
    assert made > 0.8
    assert made > mean + 0.3
    assert made > start - 0.05


def test_the_search_turns_the_vector_towards_the_one_that_was_recovered(seen):
    images, encode, vectors = seen
    public, direction = images[10:], vectors[0]
    cosines = []
    for steps in (0, 25):
        made = reconstruct(encode, direction, public, None, Search(steps=steps))
        vector = encode(made.expand(1, 3, SIDE, SIDE))[0]
        cosines.append(float(torch.nn.functional.cosine_similarity(vector, direction, dim=0)))
    assert cosines[1] > cosines[0] + 0.1


def test_variation_and_correlation_are_what_they_say():
    steps = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert float(variation(steps)) == 1.0
    assert float(variation(torch.ones(3, 3))) == 0.0
    one, other = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    wanted = np.corrcoef(one.flatten(), other.flatten())[0, 1]
    assert correlation(one, other) == pytest.approx(wanted)
    assert correlation(one, torch.ones(5, 7)) == 0.0


def test_a_picture_shows_the_true_the_nearest_and_the_rebuilt_image(
    tiny,  # noqa: F811
    out,  # noqa: F811
    fedretune,  # noqa: F811
    refused,  # noqa: F811
):
    given = [*tiny.options(out, rounds=1), "--set", "record-wire=true"]
    assert fedretune("simulate", *given).code == 0
    asked = ("privacy", "attack", out / "it", "--attack", "inversion", "--picture")
    shown = fedretune(*asked, out / "back.png")
    assert shown.code == 0
    words = " ".join(shown.err.split())
    assert "correlation with the true image" in words
    assert "rebuilt" in words
    with Image.open(out / "back.png") as picture:
        assert picture.size == (3 * 256, 256 + 34)
        assert len(set(picture.crop((0, 0, 256, 256)).tobytes())) > 20
    assert "ends in .png" in refused(*asked, out / "back.jpg")
    assert "There is no folder" in refused(*asked, out / "nowhere" / "back.png")
    assert "the attack is loss" in refused("privacy", "attack", out / "it", *asked[-1:], "a.png")
