"""`fednova`: sites that take more steps count for no more, Wang et al. 2020 (arXiv 2007.07481).

A site tells how many steps it took. With plain SGD that is the paper's norm of what a step's
gradient counts for; with Adam, whose steps are of about one length, it is the like of it.
"""

from fedretune.adaptors import Model, Spec
from fedretune.strategies.part import Contribution, Round, SitePart, Turn
from fedretune.training import TrainingResult
from fedretune.wire import ArrayRecords, ScalarRecords, Schema, WireError

#: The record of the reply, and the number in it.
RECORD, STEPS = "work", "steps"


class FedNova(SitePart):
    """The number of steps."""

    def adds(self, adaptor: Spec) -> Schema:
        """Return the one number."""
        return Schema(scalars={RECORD: {STEPS: int}})

    def check(self, arrays: ArrayRecords, scalars: ScalarRecords, steps: range) -> None:
        """Refuse a number of steps that the examples do not make: few are a long way each."""
        if (told := int(str(scalars[RECORD][STEPS]))) not in steps:
            raise WireError(
                f"{STEPS} is {told}, and its examples make {steps.start} to {steps.stop - 1}"
            )

    def begin(self, round_: Round) -> Turn:
        """Count the steps."""

        def finish(model: Model, result: TrainingResult) -> Contribution:
            return Contribution(scalars={RECORD: {STEPS: result.steps}})

        return Turn(finish=finish)
