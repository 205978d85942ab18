"""`scaffold`: control variates against client drift, Karimireddy et al. 2020 (arXiv 1910.06378).

Site i keeps c_i, the server c, at first 0. A step follows ``g(y) - c_i + c``: the term
``<c - c_i, y>`` of the loss has that correction for its gradient. After K steps at rate lr from x
to y the site has ``c_i+ = c_i - c + (x - y) / (K lr)``, option II, which is the mean of its
gradients on the way only if the optimizer is plain SGD: no other is allowed. The reply tells
``c_i+ - c_i``. A reply that the server does not use leaves c apart from the mean of the c_i.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedretune.adaptors import Model, Spec, to_arrays
from fedretune.strategies.part import Contribution, Round, SitePart, Turn, shaped_as
from fedretune.training import Term, TrainingResult
from fedretune.wire import Schema

#: The record of the reply, and of the server's c on its way down.
CONTROL = "control"

Named = dict[str, NDArray[np.float32]]


class Scaffold(SitePart):
    """The correction, and the site's control variate."""

    def adds(self, adaptor: Spec) -> Schema:
        """Return the change of the control variate, of the adaptor's shape."""
        return Schema({CONTROL: shaped_as(adaptor)})

    def begin(self, round_: Round) -> Turn:
        """Return the correction, and what makes the next control variate of the way."""
        start = to_arrays(round_.visit.model)
        zeros = {name: np.zeros_like(each) for name, each in start.items()}
        common = {**zeros, **round_.sent.get(CONTROL, {})}
        own = {**zeros, **round_.memory}

        def finish(model: Model, result: TrainingResult) -> Contribution:
            scale, end = np.float32(1 / (result.steps * round_.settings.lr)), to_arrays(model)
            change = {name: scale * (start[name] - end[name]) - common[name] for name in start}
            after = {name: own[name] + change[name] for name in start}
            return Contribution({CONTROL: change}, memory=after)

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
