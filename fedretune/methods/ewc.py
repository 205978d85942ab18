"""`ewc`: elastic weight consolidation, Kirkpatrick et al. 2017 (arXiv 1612.00796).

After an experience a site measures, on the images that it has then, how much each weight of the
adaptor matters: the diagonal of the empirical Fisher information,
``F_i = mean over images of (d loss / d w_i)^2``, summed over experiences. In later ones the term
is ``strength / 2 * sum_i F_i (w_i - a_i)^2``, a the global adaptor with which the experience
began. Both stay at the site.
"""

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from fedretune.adaptors.module import to_arrays
from fedretune.methods.method import Memory, Method, Remedy, Visit
from fedretune.objectives.difference import masked_bce, split_labels
from fedretune.objectives.functional import Logits
from fedretune.training import Term

_FISHER, _START = "ewc.fisher.", "ewc.start."
#: Images whose gradients are held at the same time: each is as large as the adaptor.
_CHUNK = 32


def ewc(method: Method) -> Method:
    """Return the method with each weight held by how much it mattered before."""
    return method.with_remedy("ewc", EWC)


class EWC(Remedy):
    """The pull of what mattered. It remembers the Fisher information, and where it began."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def before(self, memory: Memory, visit: Visit) -> Memory:
        """Keep the adaptor that came: the place to be pulled to."""
        arrays = to_arrays(visit.model)
        return {**memory, **{_START + name: array for name, array in arrays.items()}}

    def after(self, memory: Memory, visit: Visit) -> Memory:
        """Add this experience's Fisher information to that of those before."""
        added = {
            _FISHER + name: memory.get(_FISHER + name, np.float32(0)) + value
            for name, value in fisher(visit).items()
        }
        return {**memory, **added}

    def terms(self, memory: Memory, visit: Visit) -> list[Term]:
        """Return the pull, from the second experience on."""
        held = []
        for name, parameter in visit.model.named_parameters():
            if _FISHER + name in memory:
                weight, start = (torch.from_numpy(memory[key + name]) for key in (_FISHER, _START))
                held.append((parameter, weight, start))
        if not held:
            return []

        def pull(rows: Tensor, logits: Tensor) -> Tensor:
            total = torch.zeros(())
            for parameter, weight, start in held:
                total = total + (weight * (parameter - start).square()).sum()
            return self.strength / 2 * total

        return [pull]


def fisher(visit: Visit) -> dict[str, np.ndarray]:
    """Return the diagonal of the empirical Fisher information, by parameter, float32.

    Of the site's trained model on its own images and labels; an image without a label adds 0.
    Gradients are taken image by image, by ``vmap`` over ``grad``: the text adaptor's inputs are
    prompts and no samples, so hooks on its layers would be wrong.
    """
    model = visit.model
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    targets, labelled = split_labels(visit.labels)
    net = Logits(model, visit.prompts, visit.pooling)

    def loss(values: dict[str, Tensor], image: Tensor, target: Tensor, known: Tensor) -> Tensor:
        named = {f"model.{name}": value for name, value in values.items()}
        logits = functional_call(net, named, (image[None],))
        return masked_bce(logits, target[None], known[None])

    per_image = vmap(grad(loss), in_dims=(None, 0, 0, 0))
    summed = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for part in torch.split(torch.arange(len(visit.images)), _CHUNK):
        columns = visit.images[part], targets[part], labelled[part]
        for name, gradient in per_image(parameters, *columns).items():
            summed[name] += gradient.square().sum(0)
    return {name: (value / len(visit.images)).numpy() for name, value in summed.items()}
