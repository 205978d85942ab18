"""`lwf`: learning without forgetting, Li & Hoiem 2016 (arXiv 1606.09282).

The global adaptor with which an experience begins is the teacher. On the findings that the
experience does not train, the site's own new images are to be scored as the teacher scores them:
no old image is needed. The term is ``strength`` times the binary cross-entropy between the
teacher's probabilities and the student's, the mean over those entries.
"""

import torch
import torch.nn.functional as F

from fedretune.adaptors.module import Adaptor, build, load_arrays, to_arrays
from fedretune.methods.method import Memory, Method, Remedy, Visit
from fedretune.objectives.difference import logits_of
from fedretune.training import Term
from fedretune.tuning.module import Tuned

_PREFIX = "lwf."


def lwf(method: Method) -> Method:
    """Return the method with the last experience's adaptor as teacher."""
    return method.with_remedy("lwf", LwF)


class LwF(Remedy):
    """Distillation. It remembers the teacher."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def before(self, memory: Memory, visit: Visit) -> Memory:
        """Keep the adaptor that came, unless it knows nothing yet."""
        if visit.experience == 0 and not _starts_as_zero_shot(visit):
            return memory
        arrays = to_arrays(visit.model)
        return {**memory, **{_PREFIX + name: array for name, array in arrays.items()}}

    def terms(self, memory: Memory, visit: Visit) -> list[Term]:
        """Return the distance to the teacher on what the experience does not train."""
        arrays = {k[len(_PREFIX) :]: v for k, v in memory.items() if k.startswith(_PREFIX)}
        if not arrays or bool(visit.trains.all()):
            return []
        teacher = build(visit.model.spec, seed=0)
        load_arrays(teacher, arrays)
        with torch.no_grad():
            logits = logits_of(teacher, visit.images, visit.prompts, visit.pooling)
        wanted, counted = logits.sigmoid(), (~visit.trains).to(logits.dtype)

        def distance(rows: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            weight = counted[rows]
            summed = F.binary_cross_entropy_with_logits(
                logits, wanted[rows], weight=weight, reduction="sum"
            )
            return self.strength * summed / weight.sum().clamp_min(1.0)

        return [distance]


def _starts_as_zero_shot(visit: Visit) -> bool:
    if isinstance(visit.model, Tuned):
        return visit.model.spec.head == "prompts"
    return isinstance(visit.model, Adaptor) and visit.model.spec.residual
