"""Training with differential privacy at a site: DP-SGD, Abadi et al. 2016 (arXiv 1607.00133).

What is protected is a *unit*: an image, or a patient with all images that the site has of them.
In each step every unit is drawn with the same chance (Poisson sampling); the gradient of each, the
mean over its images, is cut to the length `clip`; to their sum goes normal noise of `noise` times
`clip`; the whole is divided by the number of units that were to be expected. Adam's or SGD's step
from there sees nothing else of the data.

Before it is cut, a unit's gradient may be mapped by a matrix that is known without the data, and
after the noise the sum is mapped once more (Li et al. 2022, arXiv 2202.05963): what is cut is still
a function of one unit alone and no longer than `clip`, and what comes after the noise is
post-processing, so the account is the same whatever the matrix.

Gradients are taken image by image, by ``vmap`` over ``grad``. Hooks on layers, as Opacus has them,
would be wrong: the text adaptor's inputs are prompts, not images.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from fedretune.errors import UserError
from fedretune.objectives.difference import masked_bce, split_labels
from fedretune.objectives.functional import Logits
from fedretune.objectives.prompt_embeddings import Directed, PromptEmbeddings, directed
from fedretune.privacy.noise import NoiseSource
from fedretune.training import TrainingResult, TrainingSettings, one_thread, optimizer_of

if TYPE_CHECKING:
    from fedretune.adaptors import Model

#: Bytes of gradients that are held at a time: each image's is as large as the adaptor.
CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Mechanism:
    """How a round of DP-SGD goes. Raises `UserError` for a value that is none.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, in units of `clip`.
    clip : float
        Longest that a unit's gradient may be.
    rate : float
        The chance of each unit to be in a step, above 0, at most 1.
    steps : int
        In a round.
    prior : float (default: 0.5)
        The share of positives that a model without any knowledge is taken to expect, above 0 and
        below 1: its log odds are added to each logit of the loss (Menon et al. 2021, "Long-tail
        learning via logit adjustment", arXiv 2007.07314, with a share that is public and the same
        for every finding). 0.5 adds nothing. Far below, gradients come from positives almost alone:
        else most of what clipping lets through says only that findings are rare, and the order
        of the scores is none the better for it.
    evening : Tensor, optional
        Shape ``[d, d]``, symmetric, and known without the data (`backbones.moments.evening`): what
        rows of gradients as long as an image's vector are mapped by before they are cut, and again
        after the noise. Default: as they are.
    """

    noise: float
    clip: float
    rate: float
    steps: int
    prior: float = 0.5
    evening: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("noise", 0.0), ("clip", 0.0), ("rate", 0.0), ("steps", 0)):
            if not least < getattr(self, name) < float("inf"):
                raise UserError(
                    f"privacy.{name} is {getattr(self, name)}, and differential privacy needs one "
                    "above 0: noise without clipping, or clipping without noise, hides nobody."
                )
        if self.rate > 1:
            raise UserError(f"privacy.rate is {self.rate}: it is a chance, so at most 1.")
        if not 0 < self.prior < 1:
            raise UserError(f"privacy.prior is {self.prior}: give a share above 0 and below 1.")


@one_thread()
def train_private(
    model: "Model",
    images: Tensor,
    labels: Tensor,
    prompts: PromptEmbeddings,
    settings: TrainingSettings,
    mechanism: Mechanism,
    source: NoiseSource,
    units: Tensor | None = None,
) -> TrainingResult:
    """Train `model` in place so that what it learns hides each unit.

    Of `settings` the optimizer, its learning rate and the pooling count. The result's loss is 0:
    the true one would tell of the data.

    Parameters
    ----------
    model : Adaptor | Probe
    images : Tensor
        Shape ``[n, d]``, float32.
    labels : Tensor
        Shape ``[n, F]``: 1, 0, or NaN where not labelled.
    prompts : PromptEmbeddings
    settings : TrainingSettings
    mechanism : Mechanism
    source : NoiseSource
        Of the noise, and of who is drawn.
    units : Tensor, optional
        Shape ``[n]``, int64: whose each image is, from 0 without a gap. Default: each its own.
    """
    data = _Data(directed(images), *split_labels(labels), _members(len(images), units))
    shift = math.log(mechanism.prior / (1 - mechanism.prior))
    per_image = _per_image(model, prompts, settings.pooling, shift)
    optimizer = optimizer_of(model, settings)
    parameters = dict(model.named_parameters())
    expected = mechanism.rate * len(data.members)
    for _ in range(mechanism.steps):
        drawn = source.chosen(len(data.members), mechanism.rate)
        summed = {name: torch.zeros_like(each) for name, each in parameters.items()}
        for unit_gradients in _gradients(per_image, parameters, data, drawn.tolist()):
            even = evened(unit_gradients, mechanism.evening)
            for name, each in clipped(even, mechanism.clip).items():
                summed[name] += each
        for each in summed.values():
            each += source.normal(each.shape) * (mechanism.noise * mechanism.clip)
        for name, each in evened(summed, mechanism.evening).items():
            parameters[name].grad = each / expected
        optimizer.step()
    return TrainingResult(0.0, len(images), mechanism.steps)


def clipped(gradients: dict[str, Tensor], clip: float) -> dict[str, Tensor]:
    """Return the sum of gradients ``[u, ...]``, each cut, over all names, to the length `clip`."""
    squares = [each.flatten(1).square().sum(1) for each in gradients.values()]
    lengths = torch.stack(squares).sum(0).sqrt()
    factors = (clip / lengths.clamp_min(1e-12)).clamp_max(1.0)
    return {name: torch.tensordot(factors, each, 1) for name, each in gradients.items()}


def evened(gradients: dict[str, Tensor], by: Tensor | None) -> dict[str, Tensor]:
    """Return gradients ``[..., d]`` times the symmetric matrix `by`, ``[d, d]``.

    Others are as they are, and without a matrix all are.
    """
    if by is None:
        return gradients
    return {
        name: each @ by if each.shape[-1] == len(by) else each for name, each in gradients.items()
    }


@dataclass(frozen=True)
class _Data:
    images: Directed
    targets: Tensor
    labelled: Tensor
    members: list[Tensor]


def _members(count: int, units: Tensor | None) -> list[Tensor]:
    """Return the images of each unit."""
    if units is None:
        return list(torch.split(torch.arange(count), 1))
    order = torch.argsort(units, stable=True)
    return list(torch.split(order, torch.bincount(units).tolist()))


#: From parameters and images with targets and what is labelled to each image's gradients.
_PerImage = Callable[[dict[str, Tensor], Directed, Tensor, Tensor], dict[str, Tensor]]


def _per_image(model: "Model", prompts: PromptEmbeddings, pooling: str, shift: float) -> _PerImage:
    net = Logits(model, prompts, pooling)

    def loss(values: dict[str, Tensor], image: Directed, target: Tensor, known: Tensor) -> Tensor:
        named = {f"model.{name}": value for name, value in values.items()}
        batch = Directed(*(each[None] for each in image))
        logits = functional_call(net, named, (batch,))
        return masked_bce(logits + shift, target[None], known[None])

    return vmap(grad(loss), in_dims=(None, 0, 0, 0))


def _gradients(
    per_image: _PerImage, parameters: Mapping[str, Tensor], data: _Data, drawn: list[int]
) -> Iterator[dict[str, Tensor]]:
    """Yield the gradients ``[u, ...]`` of the units that were drawn, some at a time."""
    values = {name: each.detach() for name, each in parameters.items()}
    most = max(1, CHUNK_BYTES // max(1, sum(4 * each.numel() for each in values.values())))
    while drawn:
        taken, rows = 0, 0
        while taken < len(drawn) and (not taken or rows + len(data.members[drawn[taken]]) <= most):
            rows += len(data.members[drawn[taken]])
            taken += 1
        group = [data.members[unit] for unit in drawn[:taken]]
        drawn = drawn[taken:]
        chosen = torch.cat(group)
        images = Directed(*(each[chosen] for each in data.images))
        found = per_image(values, images, data.targets[chosen], data.labelled[chosen])
        yield _mean_by_unit(found, [len(each) for each in group])


def _mean_by_unit(gradients: dict[str, Tensor], sizes: list[int]) -> dict[str, Tensor]:
    if all(size == 1 for size in sizes):
        return gradients
    whose = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    shares = 1.0 / torch.tensor(sizes, dtype=torch.float32)
    found = {}
    for name, each in gradients.items():
        weighted = each * shares[whose].reshape(-1, *[1] * (each.ndim - 1))
        found[name] = torch.zeros(len(sizes), *each.shape[1:]).index_add_(0, whose, weighted)
    return found
