"""An image from a vector that was recovered of it: the backbone run backwards.

Mahendran & Vedaldi 2015 ("Understanding Deep Image Representations by Inverting Them", arXiv
1412.0035): of all images the one whose vector has the recovered direction, with a penalty on
its total variation, as Geiping et al. 2020 (arXiv 2003.14053) have it when they invert gradients by
their cosine. Looked for from the mean of public images, or far from where it starts, it fools the
backbone: the cosine comes to .99 and the image is none. So it starts at what a regression from
vectors to pixels, learnt on public images, says, goes from coarse to fine, and not far.

Threat model: whoever holds the backbone, some images of the kind, and a vector's direction, of
`inversion` say. What a backbone does not look at cannot come back; nor can what no vector tells,
such as how bright the image was if it was normalised.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fedretune.privacy.attacks.regression import ridge
from fedretune.training import one_thread

#: From images ``[B, C, H, W]``, as the backbone is shown them, to vectors ``[B, d]``.
Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Search:
    """How the image is looked for.

    Parameters
    ----------
    steps : int (default: 60)
        Of Adam, for each of `sides`.
    lr : float (default: 0.01)
        In units of the range of the images.
    variation : float (default: 0.1)
        What the total variation, the mean over pixels, counts for beside the cosine.
    near : float (default: 30)
        What the mean squared distance from the start counts for.
    sides : tuple[int, ...] (default: 16, 32)
        The image's grid, coarse to fine: what is changed at a time.
    """

    steps: int = 60
    lr: float = 0.01
    variation: float = 0.1
    near: float = 30.0
    sides: tuple[int, ...] = (16, 32)


@one_thread()
def reconstruct(
    encode: Encode,
    direction: Tensor,
    public: Tensor,
    start: Tensor | None = None,
    search: Search | None = None,
) -> Tensor:
    """Return the grey image ``[H, W]``, within the public ones' range, of a vector's direction.

    Parameters
    ----------
    encode : Encode
        Differentiable; it gets three equal channels.
    direction : Tensor
        Shape ``[d]``.
    public : Tensor
        Shape ``[n, H, W]``: grey images as the backbone is shown them.
    start : Tensor, optional
        Shape ``[H, W]``, `decoded` say. Default: the mean of the public images.
    search : Search, optional
    """
    search = search or Search()
    low, high = float(public.min()), max(float(public.max()), float(public.min()) + 1e-12)
    first = (((public.mean(0) if start is None else start) - low) / (high - low)).clamp(0, 1)
    image = first.clone()
    for side in search.sides:
        coarse = min(side, *first.shape)
        change = torch.zeros(1, 1, coarse, coarse, requires_grad=True)
        optimizer = torch.optim.Adam([change], search.lr)
        for _ in range(search.steps):
            shown = (image + _grown(change, first)).clamp(0, 1)
            loss = _loss(encode, low + (high - low) * shown, direction)
            loss = loss + search.variation * variation(shown)
            loss = loss + search.near * (shown - first).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        image = (image + _grown(change.detach(), first)).clamp(0, 1)
    return low + (high - low) * image


def decoded(direction: Tensor, vectors: Tensor, public: Tensor) -> Tensor:
    """Return the image ``[H, W]`` that public images and their vectors make likely.

    By ridge regression of each pixel on the direction of the vector.

    Parameters
    ----------
    direction : Tensor
        Shape ``[d]``.
    vectors : Tensor
        Shape ``[n, d]``: the backbone's, of `public`.
    public : Tensor
        Shape ``[n, H, W]``.
    """
    told = F.normalize(vectors, dim=-1).double().numpy()
    asked = F.normalize(direction, dim=-1).double().numpy()[None]
    found = ridge(told, public.flatten(1).double().numpy(), asked)
    return torch.from_numpy(found[0]).to(public.dtype).reshape(public.shape[1:])


def variation(image: Tensor) -> Tensor:
    """Return the total variation of ``[H, W]``: the mean step between neighbours, both ways."""
    return image.diff(dim=0).abs().mean() + image.diff(dim=1).abs().mean()


def correlation(one: Tensor, other: Tensor) -> float:
    """Return Pearson's correlation of two images' pixels; 0 where one has no contrast."""
    a, b = (each.flatten().double() - each.double().mean() for each in (one, other))
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-30))


def coloured(image: Tensor) -> Tensor:
    """Return a batch ``[1, 3, H, W]`` of one grey image."""
    return image.expand(1, 3, *image.shape)


def _loss(encode: Encode, image: Tensor, direction: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(encode(coloured(image))[0], direction, dim=0)


def _grown(change: Tensor, like: Tensor) -> Tensor:
    grown = F.interpolate(change, size=like.shape, mode="bicubic", align_corners=False)
    return grown[0, 0]
