"""What a strategy is made of: updates, and folds of them over named arrays."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedretune.adaptors import Spec
from fedretune.strategies import Parameters
from fedretune.wire import Array, ArrayRecords, ScalarRecords
from server.aggregation import Arrays, WeightedMean

#: What a strategy remembers from one round to the next, into the next experience too: by name,
#: each named arrays. It is part of every checkpoint, so its dtypes are what it is computed in.
State = Mapping[str, Arrays]
#: Named arrays in the midst of a computation.
Floats = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Setup:
    """What a strategy knows of the run.

    Parameters
    ----------
    parameters : mapping of name to number
        The config's table ``aggregation``.
    spec : Spec
        What is trained.
    sites : int
        How many take part in the run, whoever is drawn for a round.
    by_finding : Collection[str] (default: none)
        Names of the tensors whose rows are to be weighted by positives.
    lr : float (default: 1)
        The learning rate of the sites.
    """

    parameters: Parameters
    spec: Spec
    sites: int
    by_finding: Collection[str] = ()
    lr: float = 1.0


@dataclass(frozen=True)
class Update:
    """A site's sound reply.

    Parameters
    ----------
    site : str
    arrays : mapping of name to array
        The adaptor that it trained.
    examples : int
        What it weighs: 1 where all weigh the same.
    records, scalars : mapping of record to name to array or value (default: none)
        All records of the reply, among them those that the strategy's site part added.
    """

    site: str
    arrays: Arrays
    examples: int
    records: ArrayRecords = field(default_factory=dict)
    scalars: ScalarRecords = field(default_factory=dict)


class Fold(Protocol):
    """One round's aggregation."""

    def add(self, update: Update) -> None:
        """Add a site's. Sites come in the order of their names, for sums of floats depend on it."""

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the next global adaptor and what the strategy remembers."""


#: From the run, the adaptor that was sent and what is remembered to a round's fold.
Strategy = Callable[[Setup, Arrays, State], Fold]
#: From the adaptor that was sent, the mean of the replies and what is remembered to the next
#: adaptor and memory.
Step = Callable[[Floats, Floats, State], tuple[Floats, State]]
#: From all replies to the next adaptor.
Rule = Callable[[Sequence[Update]], Mapping[str, Array]]


class MeanFold:
    """The weighted mean of the replies, in constant memory, and a step of the server towards it.

    Parameters
    ----------
    setup : Setup
    current : mapping of name to array
    state : State
    step : Step
        Works in float64.
    """

    def __init__(self, setup: Setup, current: Arrays, state: State, step: Step) -> None:
        self._mean = WeightedMean(setup.by_finding)
        self._current, self._state, self._step = current, state, step

    def add(self, update: Update) -> None:
        """Add a site's adaptor, weighted by its examples or positives."""
        positives = update.records.get("counts", {}).get("positives")
        self._mean.add(update.arrays, update.examples, positives)

    def result(self) -> tuple[dict[str, Array], State]:
        """Return the adaptor after the step. Raises `ValueError` if nothing was added."""
        found, state = self._step(floats(self._current), self._mean.mean(), self._state)
        return cast_like(self._current, found), state


class CollectedFold:
    """All replies, then a rule over them: as much memory as they take."""

    def __init__(self, current: Arrays, rule: Rule) -> None:
        self._current, self._rule = current, rule
        self._updates: list[Update] = []

    def add(self, update: Update) -> None:
        """Keep a site's."""
        self._updates.append(update)

    def result(self) -> tuple[dict[str, Array], State]:
        """Return what the rule makes of them. Raises `ValueError` if nothing was added."""
        if not self._updates:
            raise ValueError("nothing to aggregate")
        return cast_like(self._current, self._rule(self._updates)), {}


def floats(arrays: Arrays) -> dict[str, NDArray[np.float64]]:
    """Return the arrays in float64."""
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def cast_like(current: Arrays, found: Arrays) -> dict[str, Array]:
    """Return what was found in the adaptor's own dtypes and order."""
    return {name: found[name].astype(array.dtype) for name, array in current.items()}
