"""How a manifest's patients are dealt to sites: each function gives names and a site a row."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.errors import UserError
from fedretune.registry import Registry
from fedretune.seeds import derive_seed

if TYPE_CHECKING:
    from scenarios.config import RunConfig

#: Adding a partition is one function and one line here.
PARTITIONS = Registry(
    "partition",
    {name: f"scenarios.partitions:{name}" for name in ("natural", "iid", "dirichlet")},
)

#: Sites when neither the config nor Flower says how many.
DEFAULT_SITES = 4

Partition = tuple[tuple[str, ...], NDArray[np.int64]]


def natural(
    table: pd.DataFrame, findings: tuple[str, ...], sites: int, config: "RunConfig"
) -> Partition:
    """Take the manifest's own ``site`` column: one site of the run for each that it names."""
    if "site" not in table.columns:
        raise UserError(
            "Partition 'natural' needs a 'site' column, and the manifest has none: add one, or "
            "choose partition = iid or dirichlet."
        )
    names, position = np.unique(table["site"].to_numpy(dtype=np.str_), return_inverse=True)
    if sites and sites != len(names):
        raise UserError(
            f"The manifest has {len(names)} sites ({_some(names)}) and the run has {sites}: use "
            f"--sites {len(names)}, or partition = iid or dirichlet to deal the patients anew."
        )
    return tuple(names.tolist()), position.astype(np.int64)


def iid(
    table: pd.DataFrame, findings: tuple[str, ...], sites: int, config: "RunConfig"
) -> Partition:
    """Deal shuffled patients round robin, each split by itself, so that every site has some."""
    count = sites or DEFAULT_SITES
    rng = np.random.default_rng(derive_seed(config.seed, "partition", "iid"))
    site = np.zeros(len(table), dtype=np.int64)
    numbers = patient_numbers(table)
    for rows in split_rows(table):
        patients, inverse = np.unique(numbers[rows], return_inverse=True)
        deal = np.arange(len(patients)) % count
        site[rows] = deal[rng.permutation(len(patients))][inverse]
    return _names(count), site


def dirichlet(
    table: pd.DataFrame, findings: tuple[str, ...], sites: int, config: "RunConfig"
) -> Partition:
    """Give each site its own mix of findings.

    Each patient has one class, its rarest positive finding (or none); each class is shared out
    over the sites by a draw from Dirichlet(alpha), as in Hsu et al. 2019 (arXiv 1909.06335) with
    patients in the place of images. The draw is the same for all splits, so a site is tested on
    the mix that it trains on.
    """
    count = sites or DEFAULT_SITES
    rng = np.random.default_rng(derive_seed(config.seed, "partition", "dirichlet", config.alpha))
    shares = rng.dirichlet([config.alpha] * count, size=len(findings) + 1)
    classes = _rarest_finding(table, findings)
    site = np.zeros(len(table), dtype=np.int64)
    numbers = patient_numbers(table)
    for rows in split_rows(table):
        patients, inverse = np.unique(numbers[rows], return_inverse=True)
        patient_class = np.full(len(patients), len(findings), dtype=np.int64)
        np.minimum.at(patient_class, inverse, classes[rows])
        chosen = np.zeros(len(patients), dtype=np.int64)
        for label in np.unique(patient_class):
            members = rng.permutation(np.flatnonzero(patient_class == label))
            ends = np.round(np.cumsum(shares[label]) * len(members)).astype(np.int64)
            chosen[members] = np.searchsorted(ends, np.arange(len(members)), side="right")
        site[rows] = np.minimum(chosen, count - 1)[inverse]
    return _names(count), site


def _rarest_finding(table: pd.DataFrame, findings: tuple[str, ...]) -> NDArray[np.int64]:
    """Return, a row, the position in order of rarity of its rarest positive finding."""
    positive = (table[list(findings)] == 1).to_numpy()
    by_rarity = positive[:, np.argsort(positive.sum(axis=0), kind="stable")]
    return np.where(by_rarity.any(axis=1), by_rarity.argmax(axis=1), len(findings))


def split_rows(table: pd.DataFrame) -> list[NDArray[np.int64]]:
    """Return the row positions of each split that there is, in the order of their names."""
    split = table["split"].to_numpy(dtype=np.str_)
    return [np.flatnonzero(split == name) for name in np.unique(split)]


def patient_numbers(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return the position of each row's patient among all the table's, sorted by name."""
    names = table["patient"].to_numpy(dtype=np.str_)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _names(count: int) -> tuple[str, ...]:
    width = len(str(count))
    return tuple(f"site-{number:0{width}}" for number in range(1, count + 1))


def _some(names: NDArray[np.str_]) -> str:
    shown = ", ".join(names[:5].tolist())
    return shown if len(names) <= 5 else f"{shown}, ..."
