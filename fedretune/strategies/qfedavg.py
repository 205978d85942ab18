"""`qfedavg`: sites that fare worse count for more, Li et al. 2020 (arXiv 1905.10497).

A site tells the loss of the *global* adaptor on its shard, before it trains: F_k(w^t) there. The
loss is the one that it trains on, the weights of positives included.
"""

import torch

from fedretune.adaptors import Spec
from fedretune.objectives.difference import (
    logits_of,
    masked_bce,
    positive_weights,
    split_labels,
    without_one_class,
)
from fedretune.strategies.part import Contribution, Round, SitePart, Turn
from fedretune.wire import ArrayRecords, ScalarRecords, Schema, WireError

#: The record of the reply, and the number in it.
RECORD, LOSS = "fairness", "global-loss"


class QFedAvg(SitePart):
    """The loss of the adaptor that came."""

    def adds(self, adaptor: Spec) -> Schema:
        """Return the one number."""
        return Schema(scalars={RECORD: {LOSS: float}})

    def check(self, arrays: ArrayRecords, scalars: ScalarRecords, steps: range) -> None:
        """Refuse a negative loss, of which there is no power q."""
        if (loss := float(str(scalars[RECORD][LOSS]))) < 0:
            raise WireError(f"{LOSS} is {loss:g}, and a loss is 0 or more")

    def begin(self, round_: Round) -> Turn:
        """Measure the loss now, and tell it in the end."""
        loss = shard_loss(round_)
        return Turn(finish=lambda model, result: Contribution(scalars={RECORD: {LOSS: loss}}))


@torch.no_grad()
def shard_loss(round_: Round) -> float:
    """Return the loss of the model over the whole shard, the mean over its labelled entries."""
    visit, settings = round_.visit, round_.settings
    labels = visit.labels
    if settings.one_class == "mask":
        labels = without_one_class(labels)
    weights = positive_weights(labels, settings.balance)
    logits = logits_of(visit.model, visit.images, visit.prompts, visit.pooling)
    return float(masked_bce(logits, *split_labels(labels), weights))
