"""Sites trained as one batched program, held to the same sites trained one after another."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.adaptors import ADAPTORS, WIRINGS, AdaptorSpec, Model, ProbeSpec, Spec, build
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.together import UPDATES, Shard, train_together
from fedretune.training import OPTIMIZERS, TrainingSettings, train

DIM, FINDINGS = 6, 3
SETTINGS = TrainingSettings(lr=0.01, epochs=3, batch_size=4, balance="sqrt")
SPECS: list[Spec] = [
    AdaptorSpec(kind, wiring, DIM, residual, "learnable", FINDINGS, 5 if "offsets" in wiring else 0)
    for kind in ADAPTORS
    for wiring in WIRINGS
    for residual in (True, False)
    if residual or "offsets" not in wiring
]
SPECS += [ProbeSpec(hidden, DIM, FINDINGS) for hidden in (0, 7)]


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prompts() -> PromptEmbeddings:
    return PromptEmbeddings(draw(1, FINDINGS, 4, DIM), draw(2, FINDINGS, 2, DIM), tuple("abc"))


def shard(site: int, length: int) -> Shard:
    """A site's images, with a tenth of the labels missing."""
    labels = (draw(10 + site, length, FINDINGS) > 0).float()
    labels[draw(20 + site, length, FINDINGS) > 1.3] = torch.nan
    return Shard(draw(30 + site, length, DIM), labels, site)


def both_ways(
    spec: Spec, lengths: list[int], chosen: TrainingSettings
) -> tuple[list[Model], list[Model], list[float], list[float]]:
    """Return the models and losses of one by one, then those of all together."""
    shards = [shard(site, length) for site, length in enumerate(lengths)]
    alone = [build(spec, site) for site in range(len(lengths))]
    together = copy.deepcopy(alone)
    one_by_one = [
        train(model, each.images, each.labels, prompts(), chosen, each.seed)
        for model, each in zip(alone, shards, strict=True)
    ]
    at_once = train_together(together, shards, prompts(), chosen)
    for one, other in zip(one_by_one, at_once, strict=True):
        assert (one.examples, one.steps) == (other.examples, other.steps)
    return alone, together, [each.loss for each in one_by_one], [each.loss for each in at_once]


def check_same(spec: Spec, lengths: list[int], chosen: TrainingSettings) -> None:
    alone, together, losses, others = both_ways(spec, lengths, chosen)
    torch.testing.assert_close(torch.tensor(others), torch.tensor(losses), rtol=1e-4, atol=1e-5)
    for one, other in zip(alone, together, strict=True):
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], tensor, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_model_learns_the_same_together_as_one_by_one(spec: Spec) -> None:
    check_same(spec, [9, 4, 1, 12], SETTINGS)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_every_optimizer_takes_the_steps_of_torchs_own(name: str, decay: float) -> None:
    chosen = replace(SETTINGS, optimizer=name, weight_decay=decay)
    check_same(AdaptorSpec("mlp", "double", DIM, True, "learnable"), [7, 3], chosen)


def test_there_is_an_update_for_every_optimizer() -> None:
    assert set(UPDATES) == set(OPTIMIZERS)


@pytest.mark.parametrize("key", [{"pooling": "max"}, {"one_class": "mask"}, {"balance": "full"}])
def test_every_setting_is_kept(key: dict[str, str]) -> None:
    check_same(AdaptorSpec("mlp", "shared", DIM, True, "10"), [8, 5], replace(SETTINGS, **key))


@settings(max_examples=15)
@given(st.lists(st.integers(1, 11), min_size=1, max_size=5), st.integers(1, 6))
def test_shards_of_any_lengths_do_not_touch_each_other(lengths: list[int], size: int) -> None:
    spec = AdaptorSpec("linear", "double", DIM, True, "learnable")
    check_same(spec, lengths, replace(SETTINGS, batch_size=size, epochs=2, optimizer="sgd"))


def test_models_without_images_are_refused() -> None:
    model = build(AdaptorSpec("linear", "double", DIM, True, "10"), 0)
    with pytest.raises(ValueError, match="1 models and 1 shards"):
        train_together([model], [shard(0, 0)], prompts(), SETTINGS)
