"""Membership by relative likelihood, RMIA.

Zarifzadeh, Liu & Shokri 2024 (arXiv 2312.03262): how much likelier the model makes a candidate than
models at large do, as against the same of others. The paper counts the share of a population that
a candidate beats by a factor; with the factor 1 that is a candidate's rank, and orders
candidates as the ratio itself does. So the ratio is the score, and no population is held back.
The likelihood of many labels is the geometric mean of each one's. Threat model: LiRA's.
"""

import torch
from torch import Tensor

from fedretune.privacy.attacks.shadows import shadows_of
from fedretune.privacy.attacks.target import Target, confidences, log_likelihoods


def by_rmia(target: Target) -> Tensor:
    """Return the log ratio ``[n]`` of each candidate: higher for members."""
    said = log_likelihoods(confidences(target.model, target.candidates, target))
    at_large = torch.stack([log_likelihoods(each) for each in shadows_of(target).odds])
    return said - (at_large.logsumexp(0) - torch.log(torch.tensor(float(len(at_large)))))
