"""What an attack is: from what an attacker knows in a round to what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from fedretune.wire import Array, ArrayRecords, ScalarRecords, Value

if TYPE_CHECKING:
    from clients.site import Site

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Answer:
    """A reply to a training message as plain records; nothing says that it is sound.

    Parameters
    ----------
    arrays, scalars : mappings of record name to name to value
    late : bool (default: False)
        It does not come in time, but with the site's answers to its next round.
    """

    arrays: ArrayRecords = field(default_factory=dict)
    scalars: ScalarRecords = field(default_factory=dict)
    late: bool = False

    @property
    def adaptor(self) -> Arrays:
        """The adaptor's tensors by name."""
        return self.arrays["adaptor"]

    def with_adaptor(self, tensors: Arrays) -> "Answer":
        """Return the answer with other tensors."""
        return replace(self, arrays={**self.arrays, "adaptor": tensors})

    def with_metrics(self, changes: Mapping[str, Value]) -> "Answer":
        """Return the answer with some of its metrics changed."""
        metrics = {**self.scalars["metrics"], **changes}
        return replace(self, scalars={**self.scalars, "metrics": metrics})


@dataclass(frozen=True)
class Scene:
    """What an attacker knows when it answers.

    Parameters
    ----------
    start : mapping of name to array
        The adaptor that the server sent.
    honest : Answer
        What its site would have answered.
    accomplices : sequence of Answer
        What the sites of all attackers would have answered that were asked with it, its own
        among them, always in the same order.
    strength : float
    random : numpy.random.Generator
        Of (seed, site, experience, round) alone.
    """

    start: Arrays
    honest: Answer
    accomplices: Sequence[Answer]
    strength: float
    random: np.random.Generator

    def update(self) -> dict[str, Array]:
        """Return what the site has learnt: its adaptor less the one it was sent, in float64."""
        return update_of(self.honest, self.start)

    def moved(self, update: Arrays) -> Answer:
        """Return the honest answer with its adaptor `update` away from the one that was sent."""
        return self.honest.with_adaptor(
            {
                name: (self.start[name].astype(np.float64) + update[name]).astype(tensor.dtype)
                for name, tensor in self.honest.adaptor.items()
            }
        )


def update_of(answer: Answer, start: Arrays) -> dict[str, Array]:
    """Return an answer's adaptor less `start`, in float64."""
    return {name: each.astype(np.float64) - start[name] for name, each in answer.adaptor.items()}


class CrashError(Exception):
    """The attacker's process ends instead of answering."""


def honestly(scene: Scene) -> list[Answer]:
    """Answer what the site has answered."""
    return [scene.honest]


@dataclass(frozen=True)
class Attack:
    """One way to attack.

    Parameters
    ----------
    answer : callable (scene) -> list of Answer
        What is sent instead of the honest answer; raises `CrashError` for a process that ends.
    kind : "malformed" | "plausible"
        Whether a server can see from the reply alone that it is not sound.
    status, reason : str (default: "")
        What a sound server writes of a malformed one in ``sites.csv``; of the reason, a part.
    counts_once : bool (default: False)
        Of a malformed one: whether the server takes one of its replies and leaves out the others.
    strength : float (default: 0.0)
        Unless the config sets another; 0 where there is nothing to choose.
    at_site : callable (Site) -> Site
        What the attacker does to its own site before it trains; by default nothing.
    announced : int (default: 1)
        How many times as many training examples as it has it announces in the handshake.
    """

    answer: Callable[[Scene], list[Answer]]
    kind: Literal["malformed", "plausible"]
    status: str = ""
    reason: str = ""
    counts_once: bool = False
    strength: float = 0.0
    at_site: "Callable[[Site], Site] | None" = None
    announced: int = 1
