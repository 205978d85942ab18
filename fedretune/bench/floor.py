"""The floor under federated training: the default adaptor's steps, written by hand.

What a researcher would write for one experiment and no federation: no masks, no options, no
messages, one model and one optimizer. A test holds it to the library's own figures.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BareAdaptor(nn.Module):
    """The adaptor of the default config: residual `mlp`, one for each side, a learnable scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.image = _mlp(dim)
        self.text = _mlp(dim)
        self.log_scale = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor, prompts: Tensor) -> Tensor:
        """Return logits ``[n, F]`` of images ``[n, d]`` and prompts ``[2, F, P, d]``."""
        images = F.normalize(_residual(self.image, images), dim=-1)
        positive, negative = F.normalize(_residual(self.text, prompts).mean(2), dim=-1)
        logits: Tensor = self.log_scale.exp() * (images @ positive.T - images @ negative.T)
        return logits


@dataclass(frozen=True)
class Bare:
    """A bare loop: its model and its one optimizer."""

    model: BareAdaptor
    optimizer: torch.optim.Optimizer

    def visit(
        self,
        images: Tensor,
        labels: Tensor,
        prompts: Tensor,
        epochs: int,
        batch_size: int,
        generator: torch.Generator,
    ) -> int:
        """Train on one site's images for some epochs; return the steps taken."""
        steps = 0
        positives = labels.sum(0)
        weights = ((len(labels) - positives) / positives.clamp_min(1)).sqrt()
        for _ in range(epochs):
            order = torch.randperm(len(images), generator=generator)
            for rows in torch.split(order, batch_size):
                logits = self.model(images[rows], prompts)
                loss = F.binary_cross_entropy_with_logits(logits, labels[rows], pos_weight=weights)
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                steps += 1
        return steps


def make_bare(dim: int, lr: float, state: dict[str, Tensor]) -> Bare:
    """Return a bare loop that starts from the library's adaptor with this `state_dict`."""
    model = BareAdaptor(dim)
    model.load_state_dict({name.removeprefix("parts."): value for name, value in state.items()})
    return Bare(model, torch.optim.Adam(model.parameters(), lr=lr, fused=True))


def _mlp(dim: int) -> nn.Module:
    module = nn.Sequential()
    module.add_module("hidden", nn.Linear(dim, 2 * dim))
    module.add_module("relu", nn.ReLU())
    module.add_module("output", nn.Linear(2 * dim, dim))
    return module


def _residual(module: nn.Module, x: Tensor) -> Tensor:
    length = x.norm(dim=-1, keepdim=True)
    adapted: Tensor = x + length * module(x / length)
    return adapted
