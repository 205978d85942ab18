"""The manifests of the study's tasks: one for each data set and ratio."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fedretune.data.manifest import Manifest, load_manifest, write_manifest
from fedretune.data.readers.assemble import Plan, make_manifest
from fedretune.study.lora.datasets import DataSet
from fedretune.study.lora.lists import has_lists, listed
from fedretune.study.lora.splits import study_splits, subset

_FIXED = ["image", "patient", "split"]


def manifest_path(out: Path, data: DataSet, ratio: int) -> Path:
    """Return where the manifest of a data set and ratio lies."""
    return out / f"{data.name}-{ratio}.csv"


def write_manifests(data: DataSet, folder: Path, ratios: Sequence[int], out: Path) -> list[Path]:
    """Write a data set's manifests, of the training images those with labels alone.

    Labels are 1 and 0, as the study counts uncertain and unmentioned ones. Where the study's own
    lists lie in the folder, they decide, and no other table is read; else see `study_splits`.

    Parameters
    ----------
    data : DataSet
    folder : Path
        Laid out as the data set's publishers do, or as the study's readme.
    ratios : sequence of int
        Of `fedretune.study.lora.datasets.RATIOS`.
    out : Path
        A folder, made if it is not there.

    Raises
    ------
    UserError
        The folder is laid out in another way; the reader's faults.
    """
    folder, out = folder.expanduser().absolute(), out.absolute()
    paths = [manifest_path(out, data, ratio) for ratio in ratios]
    if has_lists(folder):
        for ratio, path in zip(ratios, paths, strict=True):
            table = listed(data, folder, ratio)
            _write(table.assign(image=[str(folder / name) for name in table["image"]]), data, path)
        return paths
    table = split_table(data, official(data, folder, out / f"{data.name}-all.csv"))
    for ratio, path in zip(ratios, paths, strict=True):
        _write(at_ratio(data, table, ratio), data, path)
    return paths


def official(data: DataSet, folder: Path, out: Path) -> Manifest:
    """Return the manifest of a data set's official tables, written to `out`. Raises `UserError`."""
    return make_manifest(data.name, Plan(folder, data.tables(folder), out, data.options)).manifest


def split_table(data: DataSet, manifest: Manifest) -> pd.DataFrame:
    """Return a manifest's table with the study's splits, findings and labels of 1 and 0."""
    labels = pd.DataFrame(manifest.labels(data.uncertain), columns=list(manifest.findings))
    table = pd.concat([manifest.table[_FIXED], labels[list(data.findings)]], axis=1)
    return table.assign(split=study_splits(data, table))


def at_ratio(data: DataSet, table: pd.DataFrame, ratio: int) -> pd.DataFrame:
    """Return the rows that stay: all that validate and test, and a part of those that train."""
    training = (table["split"] == "train").to_numpy()
    keep = ~training
    keep[training] = subset(data, table["image"][training].tolist(), ratio)
    return table[keep]


def load_task(data: DataSet, ratio: int, out: Path) -> Manifest:
    """Return a manifest that `write_manifests` has written."""
    return load_manifest(manifest_path(out, data, ratio))


def content_of(path: Path) -> str:
    """Return the SHA-256, in hex, of a manifest's rows, without the folders of its images."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["image"] = table["image"].str.rpartition("/")[2]
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def _write(table: pd.DataFrame, data: DataSet, path: Path) -> None:
    write_manifest(table[[*_FIXED, *data.findings]], path)
