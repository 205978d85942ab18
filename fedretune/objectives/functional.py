"""A model as a function of its parameters."""

import copy
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fedretune.objectives.difference import logits_of
from fedretune.objectives.prompt_embeddings import Directed, PromptEmbeddings

if TYPE_CHECKING:
    from fedretune.adaptors import Model


class Logits(nn.Module):
    """A model's logits as a module's forward pass: what `torch.func.functional_call` asks for.

    Its parameters are a copy of the model's, under the model's names behind ``model.``.
    """

    def __init__(self, model: "Model", prompts: PromptEmbeddings, pooling: str) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.register_buffer("positive", prompts.positive)
        self.register_buffer("negative", prompts.negative)
        self.findings, self.pooling = prompts.findings, pooling

    def forward(self, images: Tensor | Directed) -> Tensor:
        positive, negative = self.get_buffer("positive"), self.get_buffer("negative")
        prompts = PromptEmbeddings(positive, negative, self.findings)
        # `vmap` knows no other kind of attention, and would take the images one by one.
        with sdpa_kernel(SDPBackend.MATH):
            return logits_of(self.model, images, prompts, self.pooling)
