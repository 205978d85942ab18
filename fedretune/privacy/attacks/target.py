"""What an attack on membership is given."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedretune.objectives.difference import logits_of, split_labels
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.training import TrainingSettings

if TYPE_CHECKING:
    from fedretune.adaptors import Model


@dataclass(frozen=True)
class Examples:
    """Images' vectors ``[n, d]``, float32, and labels ``[n, F]``: 1, 0 or NaN."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> "Examples":
        """Return some of them, by position or by a mask."""
        return Examples(self.images[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Target:
    """A trained model, and those of whom an attacker asks whether it was trained on them.

    Parameters
    ----------
    model : Adaptor | Probe
        Known to the attacker whole.
    members, others : Examples
        Trained on, and not: the attacker sees both, and not which is which.
    prompts : PromptEmbeddings
    settings : TrainingSettings
        As the attacker believes that the model was trained; shadows are trained by them.
    shadows : int
        How many models an attack with shadows may train.
    seed : int
    units : Tensor, optional
        Shape ``[members + others]``, int64, from 0: whose each candidate is. Shadows are trained on
        all images of a patient, or on none, as the model was. Default: each its own.
    first : Target, optional
        The target whose shadows serve this one too; see `asked_of`.
    """

    model: "Model"
    members: Examples
    others: Examples
    prompts: PromptEmbeddings
    settings: TrainingSettings
    shadows: int
    seed: int
    units: Tensor | None = None
    first: "Target | None" = None

    def asked_of(self, model: "Model") -> "Target":
        """Return the same question of another model, with the same shadows."""
        return replace(self, model=model, first=self.first or self)

    @cached_property
    def candidates(self) -> Examples:
        """Members, then non-members."""
        return Examples(
            torch.cat([self.members.images, self.others.images]),
            torch.cat([self.members.labels, self.others.labels]),
        )


@torch.no_grad()
def confidences(model: "Model", examples: Examples, target: Target) -> Tensor:
    """Return the log odds ``[n, F]`` that a model gives to each true label; NaN if unlabelled."""
    logits = logits_of(model, examples.images, target.prompts, target.settings.pooling)
    return logits * (2 * examples.labels - 1)


def log_likelihoods(odds: Tensor) -> Tensor:
    """Return ``[n]``: log p of the true label, the mean over those labelled; 0 without any."""
    known, labelled = split_labels(odds)
    likely = torch.nn.functional.logsigmoid(known) * labelled
    mean: Tensor = likely.sum(1) / labelled.sum(1).clamp_min(1.0)
    return mean
