"""Training an adaptor on frozen vectors: the hot loop of every site."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedretune.errors import UserError, one_of
from fedretune.objectives.difference import (
    BALANCES,
    ONE_CLASS,
    POOLINGS,
    logits_of,
    masked_bce,
    positive_weights,
    seen,
    split_labels,
    without_one_class,
)
from fedretune.objectives.prompt_embeddings import Directed, PromptEmbeddings
from fedretune.tuning.module import Tuned

if TYPE_CHECKING:
    from fedretune.adaptors import Model

#: Something added to the loss of each step: from the positions, in `images`, of the batch's rows
#: and from their logits ``[n, F]`` to a scalar.
Term = Callable[[Tensor, Tensor], Tensor]

#: One fused kernel a step rather than one a tensor: measured, 1.5 ms a step against 1.8.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "sgd": partial(torch.optim.SGD, fused=True),
}


@dataclass(frozen=True)
class TrainingSettings:
    """How a site trains in one round. Raises `UserError` for a value that is not allowed.

    Parameters
    ----------
    optimizer : str (default: "adam")
        A name in `OPTIMIZERS`; its state starts anew with each call of `train`.
    lr : float (default: 3e-4)
    weight_decay : float (default: 0.0)
        Never applied to a learnable scale, whose zero means nothing.
    batch_size : int (default: 64)
        In images; the last batch of an epoch may be smaller.
    epochs : int (default: 10)
        Passes over the site's images.
    balance : str (default: "none")
        What positives count for: see `positive_weights`.
    one_class : str (default: "train")
        `mask` leaves out the labels of a finding that the site's images have only one class of:
        from negatives alone nothing is learnt of a finding but to deny it.
    pooling : str (default: "mean")
        Over the prompts of a finding: see `cosines`.
    checkpointing : bool (default: False)
        Of what is tuned inside the backbone: see `Tuned`.
    """

    optimizer: str = "adam"
    lr: float = 3e-4
    weight_decay: float = 0.0
    batch_size: int = 64
    epochs: int = 10
    balance: str = "none"
    one_class: str = "train"
    pooling: str = "mean"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("balance", self.balance, BALANCES)
        one_of("treatment of one class", self.one_class, ONE_CLASS)
        one_of("pooling of prompts", self.pooling, POOLINGS)
        for key, least in (("batch_size", 1), ("epochs", 1)):
            value = getattr(self, key)
            if type(value) is not int or value < least:
                raise UserError(f"{key} is {value!r}; give a whole number of {least} or more.")
        if not 0 < self.lr < float("inf"):
            raise UserError(f"lr is {self.lr!r}; give a number above 0.")
        if not 0 <= self.weight_decay < float("inf"):
            raise UserError(f"weight_decay is {self.weight_decay!r}; give 0 or a number above.")


@dataclass(frozen=True)
class TrainingResult:
    """What one call of `train` did.

    Parameters
    ----------
    loss : float
        Mean over the labelled entries that the last epoch saw, while it learnt; 0 without any.
    examples : int
        Images trained on.
    steps : int
        Optimizer steps taken.
    """

    loss: float
    examples: int
    steps: int


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: a step is too small to share.

    On a busy machine with 2 cores, two threads that wait for each other took 4 to 60 ms a step
    where one took 1.7. And sums come out the same on any number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def train(
    model: "Model",
    images: Tensor,
    labels: Tensor,
    prompts: PromptEmbeddings,
    settings: TrainingSettings,
    seed: int,
    terms: Sequence[Term] = (),
) -> TrainingResult:
    """Train `model` in place, on one CPU thread: the same bits for the same inputs and seed.

    Parameters
    ----------
    model : Adaptor | Probe | Tuned
    images : Tensor
        Shape ``[n, d]``, float32, n >= 1: the backbone's vectors. For what is tuned inside it,
        rows of its tokens, which may be float16.
    labels : Tensor
        Shape ``[n, F]``: 1, 0, or NaN where not labelled, which counts for nothing.
    prompts : PromptEmbeddings
        Of the same `F` findings.
    settings : TrainingSettings
    seed : int
        Of the order of images, by a generator of its own, and of dropout.
    terms : Sequence[Term] (default: none)
        Added to the loss of each step, and no part of the reported one.
    """
    if not len(images) or images.shape[0] != labels.shape[0]:
        raise ValueError(f"{len(images)} images and {len(labels)} rows of labels")
    if settings.one_class == "mask":
        labels = without_one_class(labels)
    weights = positive_weights(labels, settings.balance)
    targets, labelled = split_labels(labels)
    known = None if bool(labelled.all()) else labelled
    found = seen(model, images)
    optimizer = optimizer_of(model, settings)
    generator = torch.Generator().manual_seed(seed)
    steps = 0
    summed, entries = torch.zeros(()), torch.zeros(())
    with _noisy(model, settings, seed):
        for epoch in range(settings.epochs):
            order = torch.randperm(len(images), generator=generator)
            for rows, batch, wanted, counted in _batches(
                order, found, targets, known, settings.batch_size
            ):
                logits = logits_of(model, batch, prompts, settings.pooling)
                loss = masked_bce(logits, wanted, counted, weights)
                _step(optimizer, sum((term(rows, logits) for term in terms), start=loss))
                steps += 1
                if epoch == settings.epochs - 1:
                    count = torch.tensor(logits.numel()) if counted is None else counted.sum()
                    summed, entries = summed + loss.detach() * count, entries + count
    return TrainingResult(float(summed / entries.clamp_min(1.0)), len(images), steps)


def _noisy(model: "Model", settings: TrainingSettings, seed: int) -> AbstractContextManager[None]:
    """Have a model that is tuned inside the backbone drop what its spec says, and save memory."""
    if not isinstance(model, Tuned):
        return nullcontext()
    model.checkpointing = settings.checkpointing
    return model.dropping(seed)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def optimizer_of(model: "Model", settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimizer of a model's parameters, its state new."""
    named = dict(model.named_parameters())
    groups: list[dict[str, object]] = [{"params": list(named.values())}]
    if settings.weight_decay and "log_scale" in named:
        # A group of its own costs each step another call, so it is made only where it matters.
        scale = named.pop("log_scale")
        groups = [{"params": list(named.values())}, {"params": [scale], "weight_decay": 0.0}]
    make = OPTIMIZERS[settings.optimizer]
    return make(groups, lr=settings.lr, weight_decay=settings.weight_decay)


def _batches(
    order: Tensor, images: Directed, targets: Tensor, labelled: Tensor | None, size: int
) -> Iterator[tuple[Tensor, Directed, Tensor, Tensor | None]]:
    """Yield one epoch's batches: gathered once, then cut, which copies none.

    Tokens, which are long, are gathered batch by batch, so that there is no second copy of all.
    """
    parts: Iterator[Iterable[Tensor]]
    if images.lengths.shape[-1]:
        parts = (torch.split(each[order], size) for each in images)
    else:
        parts = (map(each.__getitem__, torch.split(order, size)) for each in images)
    batches = (Directed(*each) for each in zip(*parts, strict=True))
    rows, wanted = torch.split(order, size), torch.split(targets[order], size)
    counted = [None] * len(rows) if labelled is None else torch.split(labelled[order], size)
    return zip(rows, batches, wanted, counted, strict=True)
