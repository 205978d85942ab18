"""A site's part in a strategy: what it adds to the loss, and to the reply."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fedretune.adaptors import Spec
from fedretune.methods.method import Memory, Visit
from fedretune.wire import ArrayRecords, ScalarRecords, Schema

if TYPE_CHECKING:
    from fedretune.adaptors import Model
    from fedretune.training import Term, TrainingResult, TrainingSettings


@dataclass(frozen=True)
class Round:
    """What a site's part sees of a round.

    Parameters
    ----------
    visit : Visit
        The shard, and the global model as it came.
    settings : TrainingSettings
    sent : mapping of record to name to array
        What the server sent beside the adaptor: those of its state that `Traits.sends` names.
    memory : Memory
        What the site's last `Contribution` in this run left; empty if there was none.
    """

    visit: Visit
    settings: "TrainingSettings"
    sent: ArrayRecords
    memory: Memory


@dataclass(frozen=True)
class Contribution:
    """What a site adds to its reply, as `SitePart.adds` lists it, and what it remembers."""

    arrays: ArrayRecords = field(default_factory=dict)
    scalars: ScalarRecords = field(default_factory=dict)
    memory: Memory = field(default_factory=dict)


#: From the trained model, which need not be the visit's own, to what the reply gets of it.
Finish = Callable[["Model", "TrainingResult"], Contribution]


def _nothing(model: "Model", result: "TrainingResult") -> Contribution:
    return Contribution()


@dataclass(frozen=True)
class Turn:
    """A round at one site: `terms` to add to the loss, then, the model trained, `finish`."""

    terms: "Sequence[Term]" = ()
    finish: Finish = _nothing


class SitePart:
    """A site's part in a strategy. It does nothing unless overridden.

    Parameters
    ----------
    parameters : mapping of name to number
        The config's table ``aggregation``.
    """

    def __init__(self, parameters: Mapping[str, float]) -> None:
        self.parameters = parameters

    def adds(self, adaptor: Spec) -> Schema:
        """Return what the reply holds beside the adaptor, in records of its own."""
        return Schema()

    def check(self, arrays: ArrayRecords, scalars: ScalarRecords, steps: range) -> None:
        """Raise `WireError` at a reply that is of the schema and yet makes no sense.

        `steps` are the numbers of steps that training on so many examples can take.
        """

    def begin(self, round_: Round) -> Turn:
        """Return what to do in a round; the model is still the global one."""
        return Turn()
