"""A scenario: which images and findings each site trains and tests on in each experience."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.errors import UserError
from fedretune.registry import Registry
from scenarios.arrivals import ARRIVALS
from scenarios.config import RunConfig
from scenarios.groups import Groups
from scenarios.partitions import PARTITIONS
from scenarios.schedules import SCHEDULES, SitePlan

#: Adding a scenario is one file and one line here. Each is a `Stream`.
SCENARIOS = Registry(
    "scenario",
    {
        "data-incremental": "scenarios.data_incremental:trained_findings",
        "class-incremental": "scenarios.class_incremental:trained_findings",
        "label-incremental": "scenarios.label_incremental:trained_findings",
    },
)

#: From the config and all findings to the findings trained in each experience.
Stream = Callable[[RunConfig, tuple[str, ...]], Groups]


@dataclass(frozen=True)
class Lesson:
    """What a site trains at one step of the stream.

    Parameters
    ----------
    rows : int64 array [n]
        Rows of the manifest, ascending.
    trains : bool array [n, findings]
        The findings trained on each: those of its experience that its hospital labels.
    labelled : bool array [n, findings]
        The findings that its hospital labels, in whatever experience.
    """

    rows: NDArray[np.int64]
    trains: NDArray[np.bool_]
    labelled: NDArray[np.bool_]


@dataclass(frozen=True)
class Scenario:
    """Where each image of a manifest belongs, and who trains on it when.

    Parameters
    ----------
    sites : tuple[str, ...]
        Names, in the order of Flower's partition ids.
    findings : tuple[str, ...]
        All findings: what every evaluation covers.
    trained : tuple[tuple[str, ...], ...]
        The findings trained in each experience.
    site, experience : int64 arrays [images]
        Position in `sites`, and the experience, of each row of the manifest.
    split : str array [images]
        ``train``, ``val`` or ``test``.
    plan : tuple[SitePlan, ...]
        For each site, the experiences that it trains at each step of the stream.
    labelled : bool array [images, findings]
        The findings that the hospital of each image labels.
    """

    sites: tuple[str, ...]
    findings: tuple[str, ...]
    trained: Groups
    site: NDArray[np.int64]
    experience: NDArray[np.int64]
    split: NDArray[np.str_]
    plan: tuple[SitePlan, ...]
    labelled: NDArray[np.bool_]

    @property
    def experiences(self) -> int:
        """How many experiences there are to test on."""
        return len(self.trained)

    @property
    def steps(self) -> int:
        """The length of the stream."""
        return len(self.plan[0])

    @property
    def withholds(self) -> bool:
        """Whether some experience does not train some finding."""
        return not bool(self._trains.all())

    def shard(self, site: str, experience: int, split: str) -> NDArray[np.int64]:
        """Return the manifest rows, ascending, of one site, experience and split."""
        return self._shards.get((self._positions[site], experience, split), _NO_ROWS)

    def rows(self, site: str, split: str) -> NDArray[np.int64]:
        """Return the manifest rows, ascending, of one site and split over all experiences."""
        return self._union(site, range(self.experiences), split)

    def lesson(self, site: str, step: int) -> Lesson:
        """Return what one site trains at one step; no rows where it is absent or has no label."""
        rows = self._union(site, self.plan[self._positions[site]][step], "train")
        trains = self._trains[self.experience[rows]] & self.labelled[rows]
        teaching = trains.any(axis=1)  # an image whose findings nobody here labels teaches nothing
        return Lesson(rows[teaching], trains[teaching], self.labelled[rows[teaching]])

    def _union(self, site: str, experiences: Iterable[int], split: str) -> NDArray[np.int64]:
        return np.sort(
            np.concatenate([_NO_ROWS, *(self.shard(site, e, split) for e in experiences)])
        )

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.sites)}

    @cached_property
    def _trains(self) -> NDArray[np.bool_]:
        """Which findings each experience trains: [experiences, findings]."""
        return np.array([[name in each for name in self.findings] for each in self.trained])

    @cached_property
    def _shards(self) -> dict[tuple[int, int, str], NDArray[np.int64]]:
        """Rows by site, experience and split, found in one pass over the manifest."""
        names, split = np.unique(self.split, return_inverse=True)
        order = np.lexsort((split, self.experience, self.site))
        keys = np.stack([self.site, self.experience, split])[:, order]
        starts = np.flatnonzero(np.any(np.diff(keys, prepend=-1) != 0, axis=0))
        return {
            (int(keys[0, start]), int(keys[1, start]), str(names[keys[2, start]])): rows
            for start, rows in zip(starts, np.split(order, starts[1:]), strict=True)
        }


_NO_ROWS = np.empty(0, dtype=np.int64)


def build_scenario(
    config: RunConfig, table: pd.DataFrame, findings: tuple[str, ...], sites: int
) -> Scenario:
    """Cut a manifest's table into shards, by patient, from the config and its seed alone.

    Parameters
    ----------
    config : RunConfig
    table : pandas.DataFrame
        A manifest's table: columns ``patient``, ``split``, and what partition and arrival need.
    findings : tuple[str, ...]
    sites : int
        How many sites take part; 0 takes what the partition gives.

    Raises
    ------
    UserError
        The manifest cannot be cut as asked, or groups or schedule do not fit it.
    """
    trained = SCENARIOS[config.scenario](config, findings)
    names, site = PARTITIONS[config.partition](table, findings, sites, config)
    schedule = SCHEDULES[config.schedule](config, len(names), len(trained), len(findings))
    _check_splits(table)
    if config.arrival == "patients":
        _check_patients(table, names, site, len(trained))
    experience = ARRIVALS[config.arrival](table, site, len(trained), config.seed)
    split = table["split"].to_numpy(dtype=np.str_)
    labelled = schedule.labelled[site]
    return Scenario(names, findings, trained, site, experience, split, schedule.plan, labelled)


def _check_splits(table: pd.DataFrame) -> None:
    for split in ("train", "test"):
        if not (table["split"] == split).any():
            raise UserError(
                f"The manifest has no '{split}' images: give some rows split = {split}."
            )


def _check_patients(
    table: pd.DataFrame, names: tuple[str, ...], site: NDArray[np.int64], experiences: int
) -> None:
    train = (table["split"] == "train").to_numpy()
    patients = table["patient"][train].groupby(site[train]).nunique()
    for position, name in enumerate(names):
        if (count := int(patients.get(position, 0))) < experiences:
            raise UserError(
                f"Site '{name}' has too few training patients for {experiences} experiences, which "
                f"need one each: {count}. Set fewer experiences, or another partition, alpha or "
                "seed."
            )
