"""Tuning a backbone on one task in one place, as the LoRA study does: choose, then test once."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedretune.metrics import exact_auroc, macro
from fedretune.paths import writing
from fedretune.seeds import derive_seed
from fedretune.study.lora.depth import stochastic_depth
from fedretune.study.lora.images import EVALUATED, Positions
from fedretune.study.lora.optimizer import FullDecay, optimizer_of, set_rate
from fedretune.study.lora.recipes import Recipe
from fedretune.study.lora.schedule import rate_at

if TYPE_CHECKING:
    from fedretune.tuning.module import Tuned

#: Seconds between two saved states: one of full fine-tuning takes a gigabyte.
SAVED_EVERY = 60.0

State = dict[str, Any]


class Rows(Protocol):
    """What gives a tuned backbone its rows; see `fedretune.study.lora.images`."""

    def batches(self, batches: list[Positions], epoch: int) -> Iterator[Tensor]: ...


@dataclass(frozen=True, eq=False)
class Task:
    """What is trained and tested on.

    Parameters
    ----------
    labels : float32 array [n, F]
        Of the manifest's rows: 1, 0, or NaN where not labelled.
    train, val, test : int64 arrays
        Rows of the manifest.
    fresh, plain : Rows
        Of images to train on, and of images as they are.
    """

    labels: NDArray[np.float32]
    train: Positions
    val: Positions
    test: Positions
    fresh: Rows
    plain: Rows


@dataclass(frozen=True)
class Fitted:
    """What came of it.

    Parameters
    ----------
    auroc : list of float [F]
        Of the test images, at the epoch that was best on the validation images.
    val_auroc : float
        The macro mean there; NaN where no finding has both classes.
    epoch : int
        Which it was, from 1.
    losses : list of float
        The mean of each epoch's batches.
    """

    auroc: list[float]
    val_auroc: float
    epoch: int
    losses: list[float]


def fit(
    model: "Tuned",
    task: Task,
    recipe: Recipe,
    seed: int,
    state: Path | None = None,
    told: Callable[[int, float, float], None] | None = None,
) -> Fitted:
    """Train a model in place, leave it at its best epoch, and test it once.

    Best is the highest macro AUROC on the validation images after an epoch, findings without both
    classes there left out; where that is undefined, the last epoch. The same seed gives the same
    bytes on the same kind of machine, stopped and gone on with or not.

    Parameters
    ----------
    model : Tuned
        With a linear head, on the device where it is to be trained.
    task : Task
    recipe : Recipe
    seed : int
        Of the order of images, of dropout and of stochastic depth.
    state : Path, optional
        Where what is needed to go on is saved now and then, and read from if it is there.
    told : callable (epoch, loss, validation AUROC), optional
    """
    run = _Run(model, recipe)
    if state is not None:
        run.load(state)
    saved = time.monotonic()
    while run.epoch < recipe.epochs:
        loss = _train_epoch(run, task, seed)
        auroc = float(macro(_auroc(model, task, task.val)))
        run.finish(loss, auroc)
        if told:
            told(run.epoch, loss, auroc)
        if state is not None and time.monotonic() - saved > SAVED_EVERY:
            run.save(state)
            saved = time.monotonic()
    run.restore_best()
    return Fitted(_auroc(model, task, task.test).tolist(), run.best_auroc, run.best, run.losses)


def batches_of(rows: Positions, size: int, seed: int, epoch: int) -> list[Positions]:
    """Return an epoch's batches: shuffled; a last one that is not full is left out.

    Where no batch would be full there is one of all rows.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    order = rows[torch.randperm(len(rows), generator=generator).numpy()]
    full = len(rows) // size
    return [order[size * n : size * (n + 1)] for n in range(full)] or [order]


class _Run:
    """Where a training stands."""

    def __init__(self, model: "Tuned", recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        depth = model.spec.layout.depth
        self.optimizer = optimizer_of(model, recipe, depth)
        self.decay = _full_decay(model, recipe, self.optimizer)
        self.epoch, self.losses = 0, list[float]()
        self.best, self.best_auroc = 0, float("nan")
        self.best_state = _copied(model.state_dict())

    def finish(self, loss: float, auroc: float) -> None:
        """Take in an epoch's end; keep the model if it is the best so far."""
        self.epoch += 1
        self.losses.append(loss)
        if np.isnan(self.best_auroc) or auroc > self.best_auroc:
            self.best, self.best_auroc = self.epoch, auroc
            self.best_state = _copied(self.model.state_dict())

    def restore_best(self) -> None:
        """Put the best epoch's weights into the model."""
        self.model.load_state_dict(self.best_state)

    def save(self, path: Path) -> None:
        """Write what is needed to go on."""
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_state": self.best_state,
            "standing": [self.epoch, self.best, self.best_auroc, self.losses],
        }
        with writing(path) as file:
            torch.save(content, file)

    def load(self, path: Path) -> None:
        """Go on from where a file stands, if it is there."""
        if not path.is_file():
            return
        content: State = torch.load(path, "cpu", weights_only=True)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.best_state = content["best_state"]
        self.epoch, self.best, self.best_auroc, self.losses = content["standing"]


def _full_decay(
    model: "Tuned", recipe: Recipe, optimizer: torch.optim.Optimizer
) -> FullDecay | None:
    from fedretune.tuning.frozen import held

    if model.spec.kind != "full" or not recipe.weight_decay:
        return None
    return FullDecay(model, held(model.spec.layout.backbone), optimizer)


def _train_epoch(run: _Run, task: Task, seed: int) -> float:
    """Train one epoch; return the mean loss of its batches."""
    model, recipe, epoch = run.model, run.recipe, run.epoch
    batches = batches_of(task.train, recipe.batch_size, seed, epoch)
    device = next(model.parameters()).device
    losses = []
    with model.dropping(derive_seed(seed, "dropout", epoch)), _dropping(model, recipe, seed, epoch):
        for step, rows in enumerate(task.fresh.batches(batches, epoch)):
            place = epoch + step / len(batches)
            rate = rate_at(place, recipe.lr, recipe.epochs, recipe.warm_up, recipe.min_lr)
            set_rate(run.optimizer, rate)
            labels = torch.from_numpy(task.labels[batches[step]]).to(device)
            loss = masked_loss(model.logits(rows.to(device)), labels)
            run.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            run.optimizer.step()
            if run.decay:
                run.decay.step()
            losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def _dropping(
    model: "Tuned", recipe: Recipe, seed: int, epoch: int
) -> AbstractContextManager[None]:
    from fedretune.tuning.frozen import held

    if not model.spec.blocks:
        return nullcontext()
    trunk, where = held(model.spec.layout.backbone), model.spec.positions
    return stochastic_depth(trunk, where, recipe.drop_path, derive_seed(seed, "depth", epoch))


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross-entropy over the labelled entries, which are 1 or 0; else 0."""
    labelled = ~torch.isnan(labels)
    entries = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.where(labelled, labels, 0.0), reduction="none"
    )
    return (entries * labelled).sum() / labelled.sum().clamp_min(1)


@torch.no_grad()
def _auroc(model: "Tuned", task: Task, rows: Positions) -> NDArray[np.float64]:
    """Return each finding's AUROC on some rows."""
    device = next(model.parameters()).device
    batches = [rows[start : start + EVALUATED] for start in range(0, len(rows), EVALUATED)]
    scores = [
        model.logits(each.to(device)).float().cpu() for each in task.plain.batches(batches, 0)
    ]
    return exact_auroc(torch.cat(scores).numpy(), task.labels[rows])


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in tensors.items()}
