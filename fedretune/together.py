"""Training the adaptors of several sites as one batched program: the way of a GPU.

A step of one site is too small to fill a GPU. Here the sites' parameters are stacked, their
shards, which differ in length, are masked, and `torch.func` takes the steps of all at once. On two
CPU cores it is no faster than one site after another (`fedretune.training.train`), since reading
the weights is what takes the time; the results are the same but for the last bits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from fedretune.objectives.difference import (
    masked_bce,
    positive_weights,
    split_labels,
    without_one_class,
)
from fedretune.objectives.functional import Logits
from fedretune.objectives.prompt_embeddings import Directed, PromptEmbeddings, directed
from fedretune.training import TrainingResult, TrainingSettings

if TYPE_CHECKING:
    from fedretune.adaptors import Model

Stacked = Mapping[str, Tensor]

#: Adam's, as `torch.optim.Adam` has them.
BETAS, EPSILON = (0.9, 0.999), 1e-8
#: What stands before a model's parameters where it is inside `Logits`.
INSIDE = "model."
#: Never shrunk by weight decay: its zero means nothing.
SCALE = "log_scale"


@dataclass(frozen=True)
class Shard:
    """What one site trains on: `train`'s images ``[n, d]``, labels ``[n, F]`` and seed."""

    images: Tensor
    labels: Tensor
    seed: int


def train_together(
    models: "Sequence[Model]",
    shards: Sequence[Shard],
    prompts: PromptEmbeddings,
    settings: TrainingSettings,
    device: str | torch.device = "cpu",
) -> list[TrainingResult]:
    """Train each of `models`, of one spec, on its shard, in place: as `train` would, one by one.

    Each site goes through its own images in its own order, and takes as many steps as it has
    batches; where others have more, it waits.

    Parameters
    ----------
    models : sequence of `S` adaptors or probes, on the CPU
    shards : sequence of `S` shards
    prompts : PromptEmbeddings
    settings : TrainingSettings
    device : str | torch.device (default: "cpu")
        Where the steps are taken.

    Raises
    ------
    ValueError
        Not as many shards as models, none at all, or an empty shard.
    """
    if not models or len(models) != len(shards) or not all(len(each.images) for each in shards):
        raise ValueError(f"{len(models)} models and {len(shards)} shards, each with an image")
    net = Logits(models[0], prompts, settings.pooling).to(device)
    params: Stacked = _stacked(models, device)
    update, data = UPDATES[settings.optimizer](params, settings), _Data(shards, settings, device)
    gradients = vmap(grad_and_value(lambda *given: _loss(net, *given)))
    loss, entries = torch.zeros(2, len(shards), device=device)
    for epoch in range(settings.epochs):
        for batch, active in data.epoch():
            grads, losses = gradients(params, *batch)
            params = update(params, grads, active)
            if epoch == settings.epochs - 1:
                count = batch[2].sum((1, 2))
                loss, entries = loss + losses * count, entries + count
    _unstack(params, models)
    means = (loss / entries.clamp_min(1.0)).tolist()
    steps = [settings.epochs * -(-len(each.images) // settings.batch_size) for each in shards]
    return [
        TrainingResult(mean, len(shard.images), taken)
        for mean, shard, taken in zip(means, shards, steps, strict=True)
    ]


def _stacked(models: "Sequence[Model]", device: str | torch.device) -> dict[str, Tensor]:
    """Return all models' parameters ``[S, ...]``, by the names that `Logits` gives them."""
    named = [dict(each.named_parameters()) for each in models]
    return {
        f"{INSIDE}{name}": torch.stack([each[name].detach() for each in named]).to(device)
        for name in named[0]
    }


def _unstack(params: Stacked, models: "Sequence[Model]") -> None:
    """Give each model its own of the stacked parameters."""
    for place, model in enumerate(models):
        for name, tensor in model.named_parameters():
            tensor.data.copy_(params[f"{INSIDE}{name}"][place])


def _loss(
    net: nn.Module,
    params: Stacked,
    images: Directed,
    targets: Tensor,
    counted: Tensor,
    weights: Tensor,
) -> Tensor:
    """Return one site's loss: `vmap` puts the sites beside each other."""
    logits = functional_call(net, dict(params), (images,))
    return masked_bce(logits, targets, counted, weights)


Batch = tuple[Directed, Tensor, Tensor, Tensor]


class _Data:
    """All shards end to end on the device, and the batches that are gathered from them."""

    def __init__(
        self, shards: Sequence[Shard], settings: TrainingSettings, device: str | torch.device
    ) -> None:
        labels = [each.labels for each in shards]
        if settings.one_class == "mask":
            labels = [without_one_class(each) for each in labels]
        weights = [positive_weights(each, settings.balance) for each in labels]
        targets, labelled = split_labels(torch.cat(labels))
        self.images = Directed(
            *(each.to(device) for each in directed(torch.cat([each.images for each in shards])))
        )
        self.targets, self.labelled = targets.to(device), labelled.to(device)
        self.weights = torch.stack(weights).to(device)
        self.lengths = [len(each.images) for each in shards]
        self.orders = [torch.Generator().manual_seed(each.seed) for each in shards]
        self.size, self.device = settings.batch_size, device

    def epoch(self) -> Iterator[tuple[Batch, Tensor]]:
        """Yield an epoch's batches ``[S, b, ...]``, and which sites have an image in them ``[S]``.

        Rows beyond a site's last are another image, and count for nothing.
        """
        longest, start = max(self.lengths), 0
        rows = torch.zeros(len(self.lengths), longest, dtype=torch.int64)
        there = torch.zeros(len(self.lengths), longest)
        for place, (length, order) in enumerate(zip(self.lengths, self.orders, strict=True)):
            rows[place, :length] = start + torch.randperm(length, generator=order)
            there[place, :length] = 1.0
            start += length
        rows, there = rows.to(self.device), there.to(self.device)
        cut = (torch.split(each, self.size, dim=1) for each in (rows, there))
        for chosen, real in zip(*cut, strict=True):
            images = Directed(*(each[chosen] for each in self.images))
            counted = self.labelled[chosen] * real[..., None]
            yield (images, self.targets[chosen], counted, self.weights), real[:, 0] > 0


#: From parameters, their gradients, and which sites take the step, to the parameters after it.
Update = Callable[[Stacked, Stacked, Tensor], Stacked]


def _sgd(params: Stacked, settings: TrainingSettings) -> Update:
    def update(params: Stacked, grads: Stacked, active: Tensor) -> Stacked:
        return {
            name: _where(active, p - settings.lr * (grads[name] + _decay(name, settings) * p), p)
            for name, p in params.items()
        }

    return update


def _adam(params: Stacked, settings: TrainingSettings) -> Update:
    """Adam (Kingma & Ba, 2015), with the decay in the gradient, as `torch.optim.Adam` has it."""
    rule = _AdamRule(params, settings)

    def update(params: Stacked, grads: Stacked, active: Tensor) -> Stacked:
        decayed = {name: grads[name] + _decay(name, settings) * p for name, p in params.items()}
        return rule.step(params, decayed, active)

    return update


def _adamw(params: Stacked, settings: TrainingSettings) -> Update:
    """AdamW (Loshchilov & Hutter, 2019): the decay apart, as `torch.optim.AdamW` has it."""
    rule = _AdamRule(params, settings)

    def update(params: Stacked, grads: Stacked, active: Tensor) -> Stacked:
        shrunk = {
            name: _where(active, p * (1 - settings.lr * _decay(name, settings)), p)
            for name, p in params.items()
        }
        return rule.step(shrunk, grads, active)

    return update


#: The same names as `fedretune.training.OPTIMIZERS`.
UPDATES: dict[str, Callable[[Stacked, TrainingSettings], Update]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}


class _AdamRule:
    """The moments of Adam, and how many steps each site has taken."""

    def __init__(self, params: Stacked, settings: TrainingSettings) -> None:
        self.lr = settings.lr
        self.first = {name: torch.zeros_like(p) for name, p in params.items()}
        self.second = {name: torch.zeros_like(p) for name, p in params.items()}
        some = next(iter(params.values()))
        self.taken = torch.zeros(len(some), device=some.device, dtype=torch.float64)

    def step(self, params: Stacked, grads: Stacked, active: Tensor) -> Stacked:
        self.taken += active
        after = {}
        for name, p in params.items():
            gradient, first, second = grads[name], self.first[name], self.second[name]
            self.first[name] = _where(active, first.lerp(gradient, 1 - BETAS[0]), first)
            moved = BETAS[1] * second + (1 - BETAS[1]) * gradient.square()
            self.second[name] = _where(active, moved, second)
            rate, root = (
                _beside(each.to(p.dtype), p)
                for each in (
                    self.lr / (1 - BETAS[0] ** self.taken),
                    (1 - BETAS[1] ** self.taken).sqrt(),
                )
            )
            change = rate * self.first[name] / (self.second[name].sqrt() / root + EPSILON)
            after[name] = _where(active, p - change, p)
        return after


def _decay(name: str, settings: TrainingSettings) -> float:
    return 0.0 if name.endswith(SCALE) else settings.weight_decay


def _where(active: Tensor, after: Tensor, before: Tensor) -> Tensor:
    return torch.where(_beside(active, after), after, before)


def _beside(each: Tensor, like: Tensor) -> Tensor:
    """Return a number a site ``[S]`` in the shape that multiplies ``[S, ...]``."""
    return each.reshape(-1, *[1] * (like.ndim - 1))
