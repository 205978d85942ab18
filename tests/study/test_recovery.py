"""What one update gives away, by how a site trains."""

import pytest
import torch

from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.privacy.attacks.target import Examples
from fedretune.study.recovery import BATCHES, PLAIN, PRIVATE, Way, recover, ways

DIM, F, N = 32, 8, 60


@pytest.fixture(scope="module")
def world():
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(N, DIM, generator=generator) + 1.0
    labels = (torch.rand(N, F, generator=generator) < 0.4).float()
    told = torch.randn(2, F, 2, DIM, generator=generator)
    prompts = PromptEmbeddings(told[0], told[1], tuple("abcdefgh"))
    return Examples(images, labels), prompts


def found(world, *way):
    return recover(*world, Way(*way), 1)


def test_one_image_and_one_step_of_sgd_give_everything_away(world):
    told = found(world, "sgd", 1, 1)
    # With 32 dimensions few hidden units are above zero: their equations leave some of x open.
    assert told.cosine > told.baseline + 0.2
    assert told.nearest >= 0.9
    assert told.by_span == 1.0


def test_clipping_alone_hides_nothing_of_one_image(world):
    told = found(world, "clipped", 1, 1)
    assert told.nearest >= 0.9


def test_a_batch_is_found_by_the_span_of_a_step_of_sgd_and_less_so_of_adam(world):
    assert found(world, "sgd", 4, 1).by_span == 1.0
    many = found(world, "adam", 16, 1)
    assert many.by_span < 0.9
    assert many.chance == pytest.approx(16 / N)


def test_noise_leaves_no_more_than_the_mean_vector_does(world):
    for training in ("epsilon-1", "epsilon-3"):
        told = found(world, training, 1, 1)
        assert told.cosine <= told.baseline + 0.02
        assert told.nearest <= 0.15
        assert told.by_span <= 0.2


def test_there_is_a_row_for_each_way():
    assert len(ways()) == len(BATCHES) * (2 * len(PLAIN) + len(PRIVATE))
    assert {way.batch for way in ways((1, 2))} == {1, 2}
