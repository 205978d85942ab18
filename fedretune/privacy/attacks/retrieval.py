"""Who is it? The nearest of the images that an attacker has, to a vector that was recovered.

Threat model: the attacker holds embeddings of `N` images, those of the candidate among them, as
whoever has the public backbone and a gallery of images does.
"""

import torch
from torch import Tensor


def cosines_to_truth(recovered: Tensor, truth: Tensor) -> Tensor:
    """Return the cosine ``[n]`` of each recovered vector ``[n, d]`` with the true one."""
    return torch.nn.functional.cosine_similarity(recovered, truth, dim=-1)


def mean_baseline(gallery: Tensor, truth: Tensor) -> Tensor:
    """Return the cosine ``[n]`` that guessing the gallery's mean direction ``[N, d]`` reaches."""
    mean = torch.nn.functional.normalize(gallery, dim=-1).mean(0)
    return cosines_to_truth(mean.expand_as(truth), truth)


def re_identified(recovered: Tensor, gallery: Tensor, truth: Tensor) -> Tensor:
    """Return ``[n]``, bool: whether the nearest of the gallery ``[N, d]`` is `truth` ``[n]``."""
    sides = (torch.nn.functional.normalize(each, dim=-1) for each in (recovered, gallery))
    found, known = sides
    return (found @ known.T).argmax(1) == truth
