"""`o-lora`: each experience's LoRA in a space orthogonal to those before it.

Wang et al. 2023 (arXiv 2310.14152). As `lora-sum`, and the term
``strength * sum over matrices and earlier i of |A_i A_t^T|^2``, A_i the earlier experiences'
factors, which are held, and A_t the one that is trained: the rows of A span what a matrix looks at.
"""

import torch
from torch import Tensor

from fedretune.methods.lora_sum import lora_sum
from fedretune.methods.method import Memory, Method, Remedy, Visit
from fedretune.training import Term
from fedretune.tuning.module import Tuned

#: The remedy's name, and its key in the config's table ``remedy``.
NAME = "o_lora"


def o_lora(method: Method) -> Method:
    """Return the method with one LoRA an experience, each orthogonal to the earlier ones."""
    return lora_sum(method).with_remedy(NAME, Orthogonal)


class Orthogonal(Remedy):
    """The pull apart. It remembers nothing: the earlier factors are in the adaptor."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def terms(self, memory: Memory, visit: Visit) -> list[Term]:
        """Return the overlap with the earlier experiences' factors, from the second one on."""
        model = visit.model
        assert isinstance(model, Tuned)
        if not model.stage or not self.strength:
            return []
        rank, start = model.spec.rank, model.stage * model.spec.rank
        factors = [each for name, each in model.named_parameters() if name.endswith(".A")]

        def overlap(rows: Tensor, logits: Tensor) -> Tensor:
            total = torch.zeros(())
            for a in factors:
                earlier, own = a[:start].detach(), a[start : start + rank]
                total = total + (earlier @ own.T).square().sum()
            return self.strength * total

        return [overlap]
