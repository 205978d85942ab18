"""Which images train, validate and test, and which share of those that train has labels.

All of it hangs on the images' own names, so it is the same on every machine.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.data.validation import SPLITS
from fedretune.seeds import derive_seed
from fedretune.study.lora.datasets import DataSet

Splits = NDArray[np.object_]


def study_splits(data: DataSet, table: pd.DataFrame) -> Splits:
    """Return each image's split.

    Parameters
    ----------
    data : DataSet
    table : pandas.DataFrame
        Columns `image`, `patient`, and `split` as the reader made it.

    Returns
    -------
    object array [n]
        Of the official tables, always of exactly `data.sizes`. What is the study's own in it:

        - NIH: the sizes, and that no patient is in two splits. Which patients: not; the study's
          lists are its own draw, ours is by a hash of the patient.
        - CheXpert: everything: its official three parts.
        - RSNA: everything: the test images are those of stage 2; of the others, those whose names
          come first train.
    """
    own = table["split"].to_numpy(dtype=object, copy=True)
    if data.name == "nih14":
        return by_patients(table["patient"], scaled(data.sizes, len(table)), data.name)
    if data.name == "rsna":
        rest = np.flatnonzero(own != "test")
        own[rest] = _by_name(table["image"].iloc[rest].tolist(), data.sizes)
    return own


def scaled(sizes: tuple[int, int, int], total: int) -> tuple[int, int, int]:
    """Return sizes of the same shares that add up to `total`, which may be the official one."""
    ends = np.round(np.cumsum(sizes) / sum(sizes) * total).astype(int)
    train, val, test = np.diff(ends, prepend=0).tolist()
    return train, val, test


def by_patients(patients: "pd.Series[str]", sizes: tuple[int, int, int], seed: object) -> Splits:
    """Cut images into splits that share no patient, as near to `sizes` as patients allow.

    Patients, in an order drawn by their names and the seed, each go to the first split that still
    has room for all of their images; whoever fits nowhere, to the one with the most room. Enough
    patients of one image make the sizes exact, as in NIH's table, where most have one.

    Parameters
    ----------
    patients : Series of str [n]
    sizes : tuple[int, int, int]
        Images of train, val and test; they add up to `n`.
    seed : object

    Returns
    -------
    object array [n]
    """
    counts = patients.value_counts()
    order = sorted(counts.index, key=lambda name: (derive_seed("lora-study", seed, name), name))
    room, found = list(sizes), {}
    for patient in order:
        count = int(counts[patient])
        fitting = [place for place in range(len(SPLITS)) if room[place] >= count]
        place = fitting[0] if fitting else int(np.argmax(room))
        room[place] -= count
        found[patient] = SPLITS[place]
    return patients.map(found).to_numpy(dtype=object)


def _by_name(images: Sequence[str], sizes: tuple[int, int, int]) -> Splits:
    """Return `train` for the images whose names come first, and `val` for the others."""
    names = np.array([name.rpartition("/")[2] for name in images])
    train, val, _ = sizes
    first = round(len(names) * train / (train + val))
    split = np.full(len(names), "val", dtype=object)
    split[np.argsort(names)[:first]] = "train"
    return split


def subset(data: DataSet, images: Sequence[str], ratio: int) -> NDArray[np.bool_]:
    """Return which of the training images have labels at a ratio; 1% lies within 10%.

    The study's own subsets are drawn apart from each other (77 of NIH's 785 are among its 7,847),
    but for RSNA's 10%, which are the first by name (33% of them positive, where all have 23%).
    Those are ours too; else images are taken in an order drawn by their names.

    Parameters
    ----------
    data : DataSet
    images : sequence of str [n]
        Paths; only the file's name, and for CheXpert the last four parts, decide.
    ratio : int
        One of `RATIOS`.

    Returns
    -------
    bool array [n]
        With `data.count(n, ratio)` of them True.
    """
    parts = 4 if data.name == "chexpert" else 1
    names = ["/".join(image.split("/")[-parts:]) for image in images]
    order = sorted(
        range(len(names)), key=lambda row: (derive_seed("lora-study", data.name, names[row]), row)
    )
    if data.name == "rsna":
        early = set(sorted(names)[: data.count(len(names), 10)])
        order.sort(key=lambda row: names[row] not in early)
    chosen = np.zeros(len(names), dtype=bool)
    chosen[order[: data.count(len(names), ratio)]] = True
    return chosen
