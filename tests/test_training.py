import pytest
import torch

from fedretune.adaptors import AdaptorSpec, build
from fedretune.errors import UserError
from fedretune.objectives.difference import cosines, masked_bce, positive_weights, split_labels
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.training import OPTIMIZERS, TrainingSettings, train

DIM, FINDINGS = 8, 3
SPEC = AdaptorSpec("mlp", "double", DIM, False, "10")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(n: int) -> torch.Tensor:
    return draw(0, n, DIM)


def labels(n: int) -> torch.Tensor:
    """Three findings that the first three numbers of `images` tell apart."""
    return (images(n)[:, :FINDINGS] > 0).float()


def prompts() -> PromptEmbeddings:
    shape = (FINDINGS, 4, DIM)
    return PromptEmbeddings(draw(1, *shape), draw(2, *shape), tuple("abc"))


def largest_difference(one: torch.nn.Module, other: torch.nn.Module) -> float:
    theirs = other.state_dict()
    return max(float((t - theirs[name]).abs().max()) for name, t in one.state_dict().items())


@pytest.mark.parametrize("kind", ["mlp", "linear"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_separable_problem_is_learnt(kind: str, residual: bool, pooling: str) -> None:
    adaptor = build(AdaptorSpec(kind, "double", DIM, residual, "learnable"), 0)
    settings = TrainingSettings(lr=0.01, epochs=60, batch_size=20, pooling=pooling)
    result = train(adaptor, images(40), labels(40), prompts(), settings, 0)
    positive, negative = cosines(adaptor, images(40), prompts(), pooling)
    assert ((positive > negative) == labels(40).bool()).float().mean() > 0.97
    assert result.loss < 0.2


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_every_optimizer_lowers_the_loss(optimizer: str) -> None:
    lr = 0.1 if optimizer == "sgd" else 0.01

    def loss(epochs: int) -> float:
        settings = TrainingSettings(optimizer=optimizer, lr=lr, epochs=epochs, batch_size=8)
        return train(build(SPEC, 0), images(32), labels(32), prompts(), settings, 0).loss

    assert loss(10) < 0.7 * loss(1)


def test_one_full_batch_is_one_step_of_plain_gradient_descent() -> None:
    adaptor, expected = build(SPEC, 0), build(SPEC, 0)
    truth = labels(9)
    truth[::2, 0] = torch.nan
    positive, negative = cosines(expected, images(9), prompts())
    weights = positive_weights(truth, "sqrt")
    logits = expected.logit_scale() * (positive - negative)
    loss = masked_bce(logits, *split_labels(truth), weights)
    loss.backward()
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter -= 0.1 * parameter.grad
    settings = TrainingSettings("sgd", lr=0.1, epochs=1, batch_size=9, balance="sqrt")
    result = train(adaptor, images(9), truth, prompts(), settings, 0)
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)
    assert largest_difference(adaptor, expected) < 1e-6


def test_the_order_of_examples_is_nothing_to_a_full_batch() -> None:
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    settings = TrainingSettings(optimizer="sgd", lr=0.1, epochs=3, batch_size=12)
    one, other = build(SPEC, 0), build(SPEC, 0)
    train(one, images(12), labels(12), prompts(), settings, 0)
    train(other, images(12)[order], labels(12)[order], prompts(), settings, 1)
    assert largest_difference(one, other) < 1e-5


def test_the_seed_decides_the_order_of_batches() -> None:
    settings = TrainingSettings(epochs=1, batch_size=4, lr=0.01)

    def run(seed: int) -> torch.nn.Module:
        adaptor = build(SPEC, 0)
        train(adaptor, images(12), labels(12), prompts(), settings, seed)
        return adaptor

    assert largest_difference(run(3), run(3)) == 0
    assert largest_difference(run(3), run(4)) > 0


def test_the_number_of_threads_changes_no_bit_and_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    spec = AdaptorSpec("mlp", "double", 128, False, "10")
    shape = (14, 4, 128)
    texts = PromptEmbeddings(draw(1, *shape), draw(2, *shape), tuple("abcdefghijklmn"))

    def run(threads: int) -> torch.nn.Module:
        torch.set_num_threads(threads)
        adaptor = build(spec, 0)
        truth = (draw(3, 256, 14) > 1).float()
        train(adaptor, draw(0, 256, 128), truth, texts, TrainingSettings(epochs=1), 0)
        assert torch.get_num_threads() == threads
        return adaptor

    try:
        assert largest_difference(run(1), run(2)) == 0
    finally:
        torch.set_num_threads(before)


def test_training_neither_reads_nor_moves_the_global_generator() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    train(build(SPEC, 0), images(12), labels(12), prompts(), TrainingSettings(epochs=1), 0)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("n", "batch_size", "steps"), [(1, 64, 2), (3, 64, 2), (8, 4, 4), (9, 4, 6), (9, 1, 18)]
)
def test_every_image_is_seen_once_an_epoch(n: int, batch_size: int, steps: int) -> None:
    settings = TrainingSettings(epochs=2, batch_size=batch_size)
    result = train(build(SPEC, 0), images(n), labels(n), prompts(), settings, 0)
    assert (result.examples, result.steps) == (n, steps)
    assert 0 < result.loss < 100


def test_an_unlabelled_image_changes_nothing() -> None:
    truth = torch.cat([labels(6), torch.full((3, FINDINGS), torch.nan)])
    settings = TrainingSettings(optimizer="sgd", lr=0.1, epochs=2, batch_size=9, balance="full")
    one, other = build(SPEC, 0), build(SPEC, 0)
    with_some = train(one, images(9), truth, prompts(), settings, 0)
    without = train(other, images(9)[:6], labels(9)[:6], prompts(), settings, 0)
    assert with_some.loss == pytest.approx(without.loss, rel=1e-5)
    assert largest_difference(one, other) < 1e-6


def test_weight_decay_spares_a_learnable_scale() -> None:
    adaptor = build(AdaptorSpec("linear", "double", DIM, False, "learnable"), 0)
    before = adaptor.logit_scale().item()
    nothing = torch.full((4, FINDINGS), torch.nan)
    settings = TrainingSettings(optimizer="sgd", lr=0.1, weight_decay=0.5, epochs=1)
    size = adaptor.parts["image"].output.weight.norm().item()
    train(adaptor, images(4), nothing, prompts(), settings, 0)
    assert adaptor.logit_scale().item() == before
    assert adaptor.parts["image"].output.weight.norm().item() == pytest.approx(0.95 * size)


def test_no_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 images"):
        train(build(SPEC, 0), images(0), labels(0), prompts(), TrainingSettings(), 0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"optimizer": "adamx"}, "optimizer 'adamx'"),
        ({"balance": "half"}, "balance 'half'"),
        ({"pooling": "avg"}, "pooling of prompts 'avg'"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(change: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        TrainingSettings(**change)
