"""Membership by the loss: whoever the model fits best was probably trained on.

Yeom, Giacomelli, Fredrikson & Jha 2018 (arXiv 1709.01604). Threat model: anybody who has the
adaptor and the prompts, and holds a candidate's vector and labels; nothing is trained.
"""

from torch import Tensor

from fedretune.privacy.attacks.target import Target, confidences, log_likelihoods


def by_loss(target: Target) -> Tensor:
    """Return minus the loss ``[n]`` of each candidate: higher for members."""
    return log_likelihoods(confidences(target.model, target.candidates, target))
