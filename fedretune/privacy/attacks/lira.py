"""Membership by the likelihood ratio of shadow models, LiRA.

Carlini et al. 2022 (arXiv 2112.03570), the online attack: for each candidate, the odds that shadows
give with and without them are two normal distributions, and the score is the log ratio of their
densities at what the model says. The odds that they fit by a logit are a finding's logit itself;
ratios of findings add up, as if findings were independent. The variances are those of all
candidates together, as the authors do with few shadows. Threat model: the adaptor and the prompts
are known, as is how it was trained, and candidates' vectors and labels are at hand to train on.
"""

import torch
from torch import Tensor

from fedretune.privacy.attacks.shadows import Shadows, shadows_of
from fedretune.privacy.attacks.target import Target, confidences


def by_lira(target: Target) -> Tensor:
    """Return the log likelihood ratio ``[n]`` of each candidate: higher for members."""
    said = confidences(target.model, target.candidates, target)
    return log_ratios(said, shadows_of(target))


def log_ratios(said: Tensor, shadows: Shadows) -> Tensor:
    """Return ``[n]``, from what the model says ``[n, F]`` and what its shadows do."""
    inside, outside = (_density(said, shadows.odds, each) for each in _sides(shadows.within))
    return (inside - outside).nan_to_num(nan=0.0).sum(1)


def _sides(within: Tensor) -> tuple[Tensor, Tensor]:
    return within, ~within


def _density(said: Tensor, odds: Tensor, chosen: Tensor) -> Tensor:
    """Return log densities ``[n, F]`` of a normal distribution fitted to the chosen shadows."""
    weights = chosen[..., None].to(odds.dtype)
    count = weights.sum(0).clamp_min(1.0)
    mean = (odds * weights).sum(0) / count
    variance = ((odds - mean).square() * weights).sum(0) / (count - 1).clamp_min(1.0)
    spread = variance.nanmean(0).clamp_min(1e-12)
    return -0.5 * ((said - mean).square() / spread + torch.log(spread))
