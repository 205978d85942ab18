"""`fisher`: each weight as sure as a site is of it, Matena & Raffel 2022 (arXiv 2111.09832).

A site tells the diagonal of the Fisher information of the adaptor that it trained, on its shard:
the empirical one (`fedretune.methods.ewc.fisher`), by the shard's labels, where the paper takes
the expectation over the model's own.
"""

from dataclasses import replace

from fedretune.adaptors import Model, Spec
from fedretune.methods.ewc import fisher
from fedretune.objectives.difference import without_one_class
from fedretune.strategies.part import Contribution, Round, SitePart, Turn
from fedretune.training import TrainingResult
from fedretune.wire import ArrayRecords, ScalarRecords, Schema, Tensor, WireError

#: The record of the reply.
FISHER = "fisher"


class Fisher(SitePart):
    """The diagonal of the Fisher information."""

    def adds(self, adaptor: Spec) -> Schema:
        """Return a number for each of the adaptor's."""
        tensors = adaptor.tensors().items()
        return Schema({FISHER: {name: Tensor(shape, (dtype,)) for name, (shape, dtype) in tensors}})

    def check(self, arrays: ArrayRecords, scalars: ScalarRecords, steps: range) -> None:
        """Refuse a negative number: these are means of squares."""
        for name, array in arrays[FISHER].items():
            if (array < 0).any():
                raise WireError(f"array '{FISHER}/{name}' has values below 0")

    def begin(self, round_: Round) -> Turn:
        """Measure the trained adaptor in the end."""
        visit = round_.visit
        if round_.settings.one_class == "mask":
            visit = replace(visit, labels=without_one_class(visit.labels))

        def finish(model: Model, result: TrainingResult) -> Contribution:
            return Contribution({FISHER: fisher(replace(visit, model=model))})

        return Turn(finish=finish)
