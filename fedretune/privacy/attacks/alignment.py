"""Membership from the update: whose gradient points the way that the adaptor was moved.

Li, Rezaei & Liu 2023 ("Effective Passive Membership Inference Attacks in Federated Learning
against Overparameterized Models", the cosine attack). Threat model: a server that keeps what it
sent and what one site answered (or, behind secure aggregation, what their mean is), and holds
candidates' vectors and labels.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from fedretune.objectives.difference import masked_bce, split_labels
from fedretune.objectives.functional import Logits
from fedretune.objectives.prompt_embeddings import PromptEmbeddings, directed
from fedretune.privacy.attacks.target import Examples

if TYPE_CHECKING:
    from fedretune.adaptors import Model

#: Images whose gradients are held at a time.
CHUNK = 16


def by_alignment(
    sent: "Model",
    update: Mapping[str, Tensor],
    candidates: Examples,
    prompts: PromptEmbeddings,
    pooling: str = "mean",
) -> Tensor:
    """Return the cosine ``[n]`` of each candidate's descent with the update: higher for members.

    Parameters
    ----------
    sent : Adaptor | Probe
        As the server sent it.
    update : mapping of a parameter's name to a tensor
        What the site answered minus what was sent.
    candidates : Examples
    prompts : PromptEmbeddings
    pooling : str (default: "mean")
    """
    net = Logits(sent, prompts, pooling)
    values = {f"model.{name}": each.detach() for name, each in sent.named_parameters()}
    wanted = torch.cat([update[name].flatten() for name, _ in sent.named_parameters()])

    def loss(values: dict[str, Tensor], image: Tensor, target: Tensor, known: Tensor) -> Tensor:
        logits = functional_call(net, values, (directed(image[None]),))
        return masked_bce(logits, target[None], known[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0, 0))
    found = []
    rows = (candidates.images, *split_labels(candidates.labels))
    for part in zip(*(torch.split(each, CHUNK) for each in rows), strict=True):
        flat = torch.cat([each.flatten(1) for each in gradients(values, *part).values()], dim=1)
        found.append(torch.nn.functional.cosine_similarity(-flat, wanted[None], dim=1))
    return torch.cat(found)
