"""Runs that differ in nothing but the seed, taken together."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fedretune.report.about import ASIDE
from fedretune.report.numbers import Numbers
from fedretune.report.plots.marks import shortened

#: Keys that change no figure, and the one over which a mean is taken.
OVER = (*ASIDE, "seed", "device", "batched", "round-timeout", "quorum")
#: Keys that a group is named by, if they tell it from the others; else by any.
NAMING = ("method", "scenario", "strategy", "attack", "attackers", "compression", "partition")
#: Characters of a value in a name.
LONGEST = 24


@dataclass(frozen=True)
class Group:
    """Runs of one config under several seeds."""

    label: str
    runs: Sequence[Numbers]

    def values(self, of: Callable[[Numbers], float]) -> list[float]:
        """Return a figure of each run, without the undefined ones."""
        found = [of(each) for each in self.runs]
        return [value for value in found if not math.isnan(value)]

    def mean(self, of: Callable[[Numbers], float]) -> float:
        """Return a figure's mean over the seeds; NaN where it is undefined in each."""
        values = self.values(of)
        return statistics.fmean(values) if values else math.nan

    def deviation(self, of: Callable[[Numbers], float]) -> float:
        """Return its standard deviation, with n - 1; NaN of fewer than two."""
        values = self.values(of)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def seeds(self) -> str:
        """Return the seeds in their order."""
        return ", ".join(str(each.run.config.get("seed", "?")) for each in self.runs)


def group(runs: Iterable[Numbers]) -> list[Group]:
    """Return the runs by config, in the order in which each config comes first."""
    found: dict[tuple[tuple[str, str], ...], list[Numbers]] = {}
    for numbers in runs:
        found.setdefault(tuple(sorted(compared(numbers).items())), []).append(numbers)
    configs = [dict(key) for key in found]
    labels = _labels(configs)
    return [Group(label, each) for label, each in zip(labels, found.values(), strict=True)]


def differing(groups: Sequence[Group]) -> list[str]:
    """Return the keys in which groups differ, those that name a group first."""
    return _differing([compared(each.runs[0]) for each in groups])


def compared(numbers: Numbers) -> dict[str, str]:
    """Return what runs of one group have in common, as texts: keys, findings and backbone."""
    config: dict[str, Any] = {**numbers.run.config}
    config["findings"] = ", ".join(numbers.run.finding_names)
    config["backbone's fingerprint"] = numbers.run.about.get("fingerprints", {}).get("backbone")
    return {key: str(value) for key, value in config.items() if key not in OVER}


def _differing(configs: Sequence[dict[str, str]]) -> list[str]:
    keys = dict.fromkeys([*NAMING, *(key for config in configs for key in config)])
    return [key for key in keys if len({config.get(key) for config in configs}) > 1]


def _labels(configs: list[dict[str, str]]) -> list[str]:
    """Name each config by its method and by what is not as in most of the others."""
    keys = [key for key in _differing(configs) if key != "method"]
    usual = {key: Counter(c.get(key) for c in configs).most_common(1)[0][0] for key in keys}
    labels = [config.get("method", "run") for config in configs]
    for key in keys:
        if len(set(labels)) == len(labels):
            break
        for number, config in enumerate(configs):
            if config.get(key) != usual[key]:
                labels[number] += f", {_told(key, config.get(key, 'unknown'))}"
    return labels


def _told(key: str, value: str) -> str:
    short = shortened(value or "none", LONGEST)
    return short if key in ("scenario", "strategy") else f"{key} = {short}"
