"""A scenario: which images and findings each site trains and tests on in each experience."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.errors import UserError
from fedretune.registry import Registry
from fedretune.seeds import derive_seed
from scenarios.config import RunConfig
from scenarios.partitions import PARTITIONS, patients_of, split_rows

#: Adding a scenario is one file and one line here. Each is a `Stream`.
SCENARIOS = Registry(
    "scenario", {"data-incremental": "scenarios.data_incremental:trained_findings"}
)

#: From all findings and the number of experiences to the findings trained in each experience.
Stream = Callable[[tuple[str, ...], int], tuple[tuple[str, ...], ...]]


@dataclass(frozen=True)
class Scenario:
    """Where each image of a manifest belongs.

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
    """

    sites: tuple[str, ...]
    findings: tuple[str, ...]
    trained: tuple[tuple[str, ...], ...]
    site: NDArray[np.int64]
    experience: NDArray[np.int64]
    split: NDArray[np.str_]

    @property
    def experiences(self) -> int:
        """The length of the stream."""
        return len(self.trained)

    def shard(self, site: str, experience: int, split: str) -> NDArray[np.int64]:
        """Return the manifest rows, ascending, of one site, experience and split."""
        here = (self.site == self.sites.index(site)) & (self.experience == experience)
        return np.flatnonzero(here & (self.split == split))

    def rows(self, site: str, split: str) -> NDArray[np.int64]:
        """Return the manifest rows, ascending, of one site and split over all experiences."""
        return np.flatnonzero((self.site == self.sites.index(site)) & (self.split == split))


def build_scenario(
    config: RunConfig, table: pd.DataFrame, findings: tuple[str, ...], sites: int
) -> Scenario:
    """Cut a manifest's table into shards, by patient, from the config and its seed alone.

    Parameters
    ----------
    config : RunConfig
    table : pandas.DataFrame
        A manifest's table: columns ``patient``, ``split`` and, for `natural`, ``site``.
    findings : tuple[str, ...]
    sites : int
        How many sites take part; 0 takes what the partition gives.

    Raises
    ------
    UserError
        The manifest cannot be cut as asked.
    """
    names, site = PARTITIONS[config.partition](table, findings, sites, config)
    trained = SCENARIOS[config.scenario](findings, config.experiences)
    experience = _cut_into_experiences(table, site, len(trained), config.seed)
    split = table["split"].to_numpy(dtype=np.str_)
    scenario = Scenario(names, findings, trained, site, experience, split)
    _check_not_empty(scenario)
    return scenario


def _cut_into_experiences(
    table: pd.DataFrame, site: NDArray[np.int64], experiences: int, seed: int
) -> NDArray[np.int64]:
    """Deal each site's patients, in a seeded order, into chunks of nearly equal image counts."""
    experience = np.zeros(len(table), dtype=np.int64)
    for split, rows in enumerate(split_rows(table)):
        for position in np.unique(site[rows]):
            here = rows[site[rows] == position]
            rng = np.random.default_rng(derive_seed(seed, "experiences", position, split))
            _, inverse = patients_of(table, here)
            experience[here] = _chunks(np.bincount(inverse), experiences, rng)[inverse]
    return experience


def _chunks(images: NDArray[np.int64], chunks: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a chunk for each patient, from their image counts: those of a shuffled queue."""
    order = rng.permutation(len(images))
    # A patient belongs where the middle of its images falls.
    middle = np.cumsum(images[order]) - images[order] / 2
    chunk = np.empty(len(images), dtype=np.int64)
    chunk[order] = (middle * chunks / images.sum()).astype(np.int64)
    return chunk


def _check_not_empty(scenario: Scenario) -> None:
    for split in ("train", "test"):
        if not np.any(scenario.split == split):
            raise UserError(
                f"The manifest has no '{split}' images: give some rows split = {split}."
            )
    train = scenario.split == "train"
    missing = set(range(scenario.experiences)) - set(scenario.experience[train].tolist())
    if missing:
        raise UserError(
            f"Experience {min(missing) + 1} of {scenario.experiences} would have no training image "
            "at any site: ask for fewer experiences, or bring more patients."
        )
