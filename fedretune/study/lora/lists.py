"""The study's own lists of images (``DatasetsSplits`` in its public code), where a user has them.

``train_1.txt``, ``train_10.txt``, ``train_list.txt``, ``val_list.txt`` and ``test_list.txt`` lie in
the data set's folder, as its readme says. A line is an image and, for each finding, 1 or 0.
"""

from pathlib import Path

import pandas as pd

from fedretune.data.readers.roots import Root
from fedretune.data.tables import read_bytes, where_of
from fedretune.errors import UserError
from fedretune.study.lora.datasets import DataSet

_NAMES = {1: "train_1.txt", 10: "train_10.txt", 100: "train_list.txt"}
_CHEXPERT = r"((?:train|valid|test)/patient\d+/.*)$"


def has_lists(folder: Path) -> bool:
    """Return whether the study's lists lie in a folder."""
    return (folder / "val_list.txt").is_file() and (folder / "test_list.txt").is_file()


def listed(data: DataSet, folder: Path, ratio: int) -> pd.DataFrame:
    """Return the manifest's rows as the lists have them, `image` relative to the folder.

    Raises
    ------
    UserError
        A list is not there or no such list; an image is not there.
    """
    names = {"train": _NAMES[ratio], "val": "val_list.txt", "test": "test_list.txt"}
    rows = pd.concat([_read(data, folder / name, split) for split, name in names.items()])
    where = where_of(rows)
    rows["patient"] = _patients(data, rows["image"])
    found = Root(folder, follow_links=False).locate(_located(data, folder, rows["image"]), where)
    if None in found:
        raise UserError(
            f"{where(found.index(None))}: its image is not under {folder}; "
            f"{found.count(None):,} of {len(found):,} images are missing."
        )
    return rows.assign(image=[str(name) for name in found])


def _read(data: DataSet, path: Path, split: str) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"There is no {path}, and the study's other lists are there.")
    lines = [line.split() for line in read_bytes(path).decode("utf-8", "replace").splitlines()]
    numbers = [number for number, cells in enumerate(lines, 1) if cells]
    cells = [line for line in lines if line]
    for number, line in zip(numbers, cells, strict=True):
        if len(line) != 1 + len(data.findings) or not {"0", "1"}.issuperset(line[1:]):
            raise UserError(
                f"{path}, line {number}: not an image and {len(data.findings)} times 0 or 1, as "
                f"the study's lists of {data.title} have."
            )
    index = pd.MultiIndex.from_arrays([[str(path)] * len(cells), numbers], names=["file", "line"])
    table = pd.DataFrame(cells, columns=["image", *data.findings], index=index)
    table = table.astype(dict.fromkeys(data.findings, "float32"))
    table.insert(1, "split", split)
    return table


def _patients(data: DataSet, images: "pd.Series[str]") -> "pd.Series[str]":
    if data.name == "nih14":
        return images.str.partition("_")[0]
    if data.name == "chexpert":
        return images.str.extract(r"(patient\d+)")[0].fillna(images)
    return images.str.rpartition("/")[2]


def _located(data: DataSet, folder: Path, images: "pd.Series[str]") -> "pd.Series[str]":
    """Return the images' paths below the folder: CheXpert's may have any first folder, or none."""
    if data.name != "chexpert":
        return images
    tails = images.str.extract(_CHEXPERT)[0].fillna(images)
    if (folder / "train").is_dir():
        return tails
    inner = sorted(path.parent.name for path in folder.glob("*/train"))
    return inner[0] + "/" + tails if inner else images
