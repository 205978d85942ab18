"""Which experience each image of a site belongs to: by patients, by a column, or by date.

Each function takes a manifest's table, the site of each row, how many experiences there are and
the run's seed, and gives the experience of each row, from 0.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.errors import UserError
from fedretune.registry import Registry
from fedretune.seeds import derive_seed
from scenarios.partitions import patient_numbers, split_rows

#: Adding a way to arrive is one function and one line here.
ARRIVALS = Registry(
    "arrival",
    {
        "patients": "scenarios.arrivals:by_patients",
        "experience": "scenarios.arrivals:by_experience",
        "date": "scenarios.arrivals:by_date",
    },
)

Experiences = NDArray[np.int64]


def by_patients(
    table: pd.DataFrame, site: NDArray[np.int64], experiences: int, seed: int
) -> Experiences:
    """Deal each site's patients, in a seeded order, into chunks of nearly equal image counts."""
    experience = np.zeros(len(table), dtype=np.int64)
    numbers = patient_numbers(table)
    for split, rows in enumerate(split_rows(table)):
        for position, here in _by_site(site, rows):
            rng = np.random.default_rng(derive_seed(seed, "experiences", position, split))
            _, inverse = np.unique(numbers[here], return_inverse=True)
            experience[here] = _chunks(np.bincount(inverse), experiences, rng)[inverse]
    return experience


def by_experience(
    table: pd.DataFrame, site: NDArray[np.int64], experiences: int, seed: int
) -> Experiences:
    """Take the manifest's own column ``experience``: whole numbers from 1.

    Sites need not line up: one may have no image in an experience. Raises `UserError` for a
    missing column, or for what is no number of an experience.
    """
    text = _column(table, "experience")
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    if not ((numbers >= 1) & (numbers <= experiences) & (numbers == np.floor(numbers))).all():
        raise UserError(
            f"arrival = experience takes whole numbers from 1 to {experiences} in the manifest's "
            "column 'experience', and some are none: mend them, or set experiences to the "
            "largest of them.",
            public=f"its manifest's experiences are not those of a run of {experiences}",
        )
    return numbers.astype(np.int64) - 1


def by_date(
    table: pd.DataFrame, site: NDArray[np.int64], experiences: int, seed: int
) -> Experiences:
    """Cut each site's time where its training images fall into equal parts.

    Images of one day stay together, so parts may differ in size, and the same days part all
    splits. Raises `UserError` for a missing column or what is no date.
    """
    dates = pd.to_datetime(_column(table, "date"), errors="coerce", format="ISO8601")
    if dates.isna().any():
        raise UserError(
            "arrival = date needs a date such as 2015-12-31 in the manifest's column 'date' on "
            "every row: fill it, or choose arrival = patients.",
            public="its manifest's dates cannot be read",
        )
    days = dates.to_numpy(dtype="datetime64[D]").astype(np.int64)
    train = (table["split"] == "train").to_numpy()
    experience = np.zeros(len(table), dtype=np.int64)
    for _, here in _by_site(site, np.arange(len(table))):
        known = np.sort(days[here][train[here]])
        if len(known):
            firsts = np.ceil(len(known) * np.arange(1, experiences) / experiences).astype(np.int64)
            cuts = known[np.minimum(firsts, len(known) - 1)]
            experience[here] = np.searchsorted(cuts, days[here], side="right")
    return experience


def _column(table: pd.DataFrame, name: str) -> "pd.Series[str]":
    if name not in table:
        raise UserError(
            f"arrival = {name} needs a column '{name}', and the manifest has none: add one, or "
            "choose arrival = patients.",
            public=f"its manifest has no column '{name}'",
        )
    return table[name]


def _by_site(
    site: NDArray[np.int64], rows: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the position of each site that has some of these rows, and its own of them."""
    for position in np.unique(site[rows]):
        yield int(position), rows[site[rows] == position]


def _chunks(images: NDArray[np.int64], chunks: int, rng: np.random.Generator) -> Experiences:
    """Return a chunk for each patient, from their image counts: those of a shuffled queue."""
    order = rng.permutation(len(images))
    # A patient belongs where the middle of its images falls.
    middle = np.cumsum(images[order]) - images[order] / 2
    queue = (middle * chunks / images.sum()).astype(np.int64)
    if len(images) >= chunks:
        queue = _without_gaps(queue, chunks)
    chunk = np.empty(len(images), dtype=np.int64)
    chunk[order] = queue
    return chunk


def _without_gaps(queue: NDArray[np.int64], chunks: int) -> NDArray[np.int64]:
    """Move as few patients as it takes for no chunk to be empty, where one has many images."""
    place = np.arange(len(queue))
    steps_of_one = place + np.minimum.accumulate(np.minimum(queue - place, 0))
    return np.maximum(steps_of_one, place + chunks - len(queue))
