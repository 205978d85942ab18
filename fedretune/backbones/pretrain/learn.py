"""The two trainings: image and text by contrast, and the image tower alone with the answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from fedretune.backbones.pretrain.folder import EMBED_DIM, MEAN, STD
from fedretune.backbones.pretrain.reports import Facts, write_report

Tick = Callable[[int, int, float], None]
_PEAK, _WARM, _DECAY = 1e-3, 100, 0.05
_SHIFT = 4  # pixels: how far a batch is moved about, so that the place of a border tells nothing


def as_input(films: NDArray[np.uint8]) -> Tensor:
    """Return ``[n, 3, H, W]`` float32 of ``[n, H, W]`` grey levels, as the preprocessing does."""
    grey = torch.from_numpy(films)[:, None].float().div_(255.0)
    three = grey.sub_(MEAN).div_(STD).expand(-1, 3, -1, -1)
    return three.contiguous(memory_format=torch.channels_last)


def contrast(
    model: Any,
    tokenizer: Any,
    films: NDArray[np.uint8],
    facts: list[Facts],
    steps: int,
    batch: int,
    seed: int,
    tick: Tick,
) -> None:
    """Train an open_clip model in place on images and freshly written reports.

    The loss is CLIP's symmetric softmax (Radford et al., ICML 2021), where a pair with the same
    text as another's is no negative of it.
    """
    rng = np.random.default_rng(seed)
    optimizer, schedule = optimizer_of(model, steps)
    model.train().to(memory_format=torch.channels_last)
    for step, index in enumerate(batches(len(films), batch, steps, rng)):
        texts = [write_report(facts[i], rng) for i in index]
        words = model.encode_text(tokenizer(texts), normalize=True)
        images = model.encode_image(augmented(films[index], rng), normalize=True)
        logits = model.logit_scale.exp() * images @ words.T
        loss = _symmetric(logits, texts)
        update(optimizer, schedule, loss)
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, float(np.log(100.0)))
        tick(step + 1, steps, loss.item())
    model.eval()


def supervise(
    tower: nn.Module,
    films: NDArray[np.uint8],
    labels: NDArray[Any],
    steps: int,
    batch: int,
    seed: int,
    tick: Tick,
) -> nn.Module:
    """Return the image tower with a linear head, trained on the labels: the ceiling."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(tower, nn.Linear(EMBED_DIM, labels.shape[1]))
    optimizer, schedule = optimizer_of(model, steps)
    model.train().to(memory_format=torch.channels_last)
    for step, index in enumerate(batches(len(films), batch, steps, rng)):
        target = torch.from_numpy(labels[index]).float()
        loss = binary_cross_entropy_with_logits(model(augmented(films[index], rng)), target)
        update(optimizer, schedule, loss)
        tick(step + 1, steps, loss.item())
    return model.eval()


@torch.inference_mode()
def outputs(model: Any, films: NDArray[np.uint8], batch: int = 200) -> Tensor:
    """Return what `model` says of each image, ``[n, k]``."""
    parts = [model(as_input(films[i : i + batch])) for i in range(0, len(films), batch)]
    return torch.cat(parts)


def optimizer_of(model: nn.Module, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """Return AdamW, and its rate's schedule: a short rise, then a half-cosine down to 0."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=_PEAK, weight_decay=_DECAY)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / _WARM) * 0.5 * (1.0 + float(np.cos(np.pi * step / steps)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def update(optimizer: torch.optim.Optimizer, schedule: Any, loss: Tensor) -> None:
    """Take one step down the loss."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    schedule.step()


def batches(count: int, batch: int, steps: int, rng: np.random.Generator) -> Any:
    """Yield `steps` batches of indices, pass after pass, each in a new order."""
    batch = min(batch, count)
    order = rng.permutation(count)
    start = 0
    for _ in range(steps):
        if start + batch > count:
            order, start = rng.permutation(count), 0
        yield order[start : start + batch]
        start += batch


def augmented(films: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """Shift a batch by a few pixels, and change each image's brightness and contrast a little."""
    images = as_input(films)
    down, right = (int(x) for x in rng.integers(-_SHIFT, _SHIFT + 1, 2))
    images = torch.roll(images, (down, right), (2, 3))
    change = torch.from_numpy(rng.uniform(-0.15, 0.15, (2, len(films), 1, 1, 1)).astype(np.float32))
    return images * (1.0 + change[0]) + change[1]


def _symmetric(logits: Tensor, texts: list[str]) -> Tensor:
    names = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    which = torch.tensor([names[text] for text in texts])
    same = (which[:, None] == which[None, :]) & ~torch.eye(len(texts), dtype=torch.bool)
    logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(texts))
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
