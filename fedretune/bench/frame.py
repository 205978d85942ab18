"""The frame of every row: two sides in turn, medians, their ratio.

Machines differ and are shared, so a figure means little alone. Both sides of a row are measured
alternately in the same minutes: what slows one slows the other.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

from fedretune.bench.memory import peak_mib, reset_peak

Fact = str | int | float | bool


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Parameters
    ----------
    value : float
        In the row's unit.
    peak_mib : float | None
        The highest resident memory meanwhile, in MiB; None where it is not known.
    """

    value: float
    peak_mib: float | None


@dataclass(frozen=True)
class Side:
    """One side of a row: `what` is run, for people, and how it is measured once."""

    what: str
    measure: Callable[[], Sample]


@dataclass(frozen=True)
class Case:
    """A row that is ready to be measured.

    Parameters
    ----------
    unit : str
        Of both sides' values.
    a : Side
        Ours.
    b : Side | None
        What it is held against, where there is such a thing.
    facts : mapping
        What else the row wants to be written down; filled while it is measured, if it likes.
    repeats : int | None
        Samples a side where one takes so long that it is not warmed up and not taken as often
        as those of other rows.
    """

    unit: str
    a: Side
    b: Side | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    repeats: int | None = None


@dataclass(frozen=True)
class Measured:
    """A side's samples, in the order taken."""

    what: str
    values: tuple[float, ...]
    peaks_mib: tuple[float | None, ...]

    @property
    def median(self) -> float:
        """The median value."""
        return median(self.values)

    @property
    def peak_mib(self) -> float | None:
        """The highest peak, in MiB; None where none is known."""
        return max((peak for peak in self.peaks_mib if peak is not None), default=None)


@dataclass(frozen=True)
class Result:
    """A row's figures."""

    name: str
    unit: str
    a: Measured
    b: Measured | None
    facts: Mapping[str, Fact]

    @property
    def ratio(self) -> float | None:
        """Median of a over median of b; None where there is no b."""
        return self.a.median / self.b.median if self.b else None


def measure(name: str, case: Case, repeats: int) -> Result:
    """Measure a row: each side once to warm up, which does not count, then a, b, a, b, ...

    A row that says how often is taken so, and not warmed up.

    Parameters
    ----------
    name : str
    case : Case
    repeats : int
        Samples a side, at least 1.
    """
    sides = [case.a] if case.b is None else [case.a, case.b]
    if case.repeats is None:
        for side in sides:
            side.measure()
    samples: list[list[Sample]] = [[] for _ in sides]
    for _ in range(case.repeats or repeats):
        for side, found in zip(sides, samples, strict=True):
            found.append(side.measure())
    done = [
        Measured(side.what, tuple(s.value for s in found), tuple(s.peak_mib for s in found))
        for side, found in zip(sides, samples, strict=True)
    ]
    return Result(name, case.unit, done[0], done[1] if done[1:] else None, dict(case.facts))


def seconds_of(work: Callable[[], object]) -> Sample:
    """Run `work` once: the seconds it took, and the process's peak meanwhile."""
    reset_peak()
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    return Sample(seconds, peak_mib())


def rate_of(work: Callable[[], object], count: int) -> Sample:
    """Run `work`, which does `count` things, once: how many a second, and the peak meanwhile."""
    sample = seconds_of(work)
    return Sample(count / sample.value, sample.peak_mib)
