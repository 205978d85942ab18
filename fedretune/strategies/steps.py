"""The number of steps that a site took: what `fednova` and `scaffold` have it tell."""

from fedretune.training import TrainingResult
from fedretune.wire import ScalarRecords, Schema, WireError

#: The record of the reply, and the number in it.
RECORD, STEPS = "work", "steps"
ADDED = Schema(scalars={RECORD: {STEPS: int}})


def telling(result: TrainingResult) -> ScalarRecords:
    """Return what the reply gets."""
    return {RECORD: {STEPS: result.steps}}


def told(scalars: ScalarRecords) -> int:
    """Return the number in a reply."""
    return int(str(scalars[RECORD][STEPS]))


def check(scalars: ScalarRecords, steps: range) -> None:
    """Raise `WireError` at a number that the examples do not make: few are a long way each."""
    if told(scalars) not in steps:
        raise WireError(
            f"{STEPS} is {told(scalars)}, and its examples make {steps.start} to {steps.stop - 1}"
        )
