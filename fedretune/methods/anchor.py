"""`anchor`: pull the adapted prompts to the frozen ones.

The images of one experience may move every prompt, those of findings that it does not show too.
The term is ``strength * mean over prompts of (1 - cos(b(p), p))``, b the text adaptor.
"""

import torch
import torch.nn.functional as F

from fedretune.adaptors.module import Adaptor
from fedretune.methods.method import Memory, Method, Remedy, Visit
from fedretune.training import Term


def anchor(method: Method) -> Method:
    """Return the method with its adapted prompts pulled to the frozen ones."""
    return method.with_remedy("anchor", Anchor)


class Anchor(Remedy):
    """The pull. It remembers nothing."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def terms(self, memory: Memory, visit: Visit) -> list[Term]:
        """Return the pull of every prompt to where the frozen encoder put it."""
        adaptor, prompts = visit.model, visit.prompts
        assert isinstance(adaptor, Adaptor)
        frozen = prompts.joined.vectors

        def pull(rows: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            adapted = torch.cat(adaptor.text(prompts), dim=1)
            return self.strength * (1 - F.cosine_similarity(adapted, frozen, dim=-1)).mean()

        return [pull]
