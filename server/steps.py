"""A run is a fixed list of steps."""

from dataclasses import dataclass

from fedretune.methods.method import Order

#: Before any training: `zero-shot` is the frozen model, `adapted` the untrained adaptor.
BEFORE = -1


@dataclass(frozen=True)
class Step:
    """One step: ``train`` in a round of an experience, or ``evaluate`` a model after one."""

    kind: str
    experience: int
    round: int = -1
    model: str = "adapted"


def steps(order: Order, experiences: int, rounds: int) -> list[Step]:
    """Return the run's steps, in order; `experiences` is the length of the stream."""
    found = [Step("evaluate", BEFORE, model="zero-shot")]
    if order != "zero-shot":
        found.append(Step("evaluate", BEFORE))
    if order in ("zero-shot", "untrained"):
        return found
    for experience in range(experiences):
        found += [Step("train", experience, round_) for round_ in range(rounds)]
        found.append(Step("evaluate", experience))
    return found
