"""`scaffold`: control variates against client drift, Karimireddy et al. 2020 (arXiv 1910.06378).

Site i keeps c_i, the server c, at first 0. A step follows ``g(y) - c_i + c``: the term
``<c - c_i, y>`` of the loss has that correction for its gradient. After K steps at rate lr from x
to y the site has ``c_i+ = c_i - c + (x - y) / (K lr)``, option II, which is the mean of its
gradients on the way only if the optimizer is plain SGD: no other is allowed. The paper has a site
send ``c_i+ - c_i``; as the server knows c, x, y and lr, here it tells K, and no more. A reply that
the server does not use, and a lossy compression, leave c apart from the mean of the c_i.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedretune.adaptors import Model, Spec, to_arrays
from fedretune.strategies import steps as work
from fedretune.strategies.part import Contribution, Round, SitePart, Turn
from fedretune.training import Term, TrainingResult
from fedretune.wire import ArrayRecords, ScalarRecords, Schema

#: The server's c, in what it remembers and on its way down.
CONTROL = "control"

Named = dict[str, NDArray[np.float32]]


class Scaffold(SitePart):
    """The correction, and the site's control variate."""

    def adds(self, adaptor: Spec) -> Schema:
        """Return the number of steps."""
        return work.ADDED

    def check(self, arrays: ArrayRecords, scalars: ScalarRecords, steps: range) -> None:
        """Refuse a number of steps that the examples do not make."""
        work.check(scalars, steps)

    def begin(self, round_: Round) -> Turn:
        """Return the correction, and what makes the next control variate of the way."""
        start = to_arrays(round_.visit.model)
        zeros = {name: np.zeros_like(each) for name, each in start.items()}
        common = {**zeros, **round_.sent.get(CONTROL, {})}
        own = {**zeros, **round_.memory}

        def finish(model: Model, result: TrainingResult) -> Contribution:
            scale, end = np.float32(1 / (result.steps * round_.settings.lr)), to_arrays(model)
            after = {
                name: own[name] - common[name] + scale * (start[name] - end[name]) for name in start
            }
            return Contribution(scalars=work.telling(result), memory=after)

        correction = {name: common[name] - own[name] for name in start}
        return Turn(_terms(round_.visit.model, correction), finish)


def _terms(model: Model, correction: Named) -> list[Term]:
    """Return the inner product of the parameters with the correction; none where that is 0."""
    if not any(each.any() for each in correction.values()):
        return []
    pairs = [(each, torch.from_numpy(correction[name])) for name, each in model.named_parameters()]

    def along(rows: Tensor, logits: Tensor) -> Tensor:
        total = torch.zeros(())
        for parameter, each in pairs:
            total = total + (parameter * each).sum()
        return total

    return [along]
