"""The hand-written loop is a fair floor: it takes the steps that the library takes."""

import pytest
import torch

from fedretune.adaptors import build
from fedretune.bench.floor import make_bare
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.training import TrainingSettings, train
from scenarios import RunConfig

DIM, FINDINGS, IMAGES = 16, 5, 50


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batch_size", [16, 64])
def test_the_bare_loop_reaches_the_adaptor_that_the_library_reaches(batch_size: int) -> None:
    config = RunConfig.from_flat({"train.batch-size": batch_size})
    adaptor = build(config.spec(DIM, 3), 0)
    bare = make_bare(DIM, config.train.lr, adaptor.state_dict())
    images, labels = draw(0, IMAGES, DIM), (draw(1, IMAGES, FINDINGS) > 0).float()
    positive, negative = draw(2, FINDINGS, 4, DIM), draw(3, FINDINGS, 4, DIM)
    settings = TrainingSettings(**config.train.model_dump(), pooling=config.pooling)

    prompts = PromptEmbeddings(positive, negative, tuple("abcde"))
    result = train(adaptor, images, labels, prompts, settings, seed=7)
    steps = bare.visit(
        images,
        labels,
        torch.stack([positive, negative]),
        settings.epochs,
        settings.batch_size,
        torch.Generator().manual_seed(7),
    )

    assert steps == result.steps
    start = build(config.spec(DIM, 3), 0).state_dict()
    for name, theirs in adaptor.state_dict().items():
        ours = bare.model.state_dict()[name.removeprefix("parts.")]
        assert not torch.equal(theirs, start[name]), name
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
