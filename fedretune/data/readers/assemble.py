"""From what a reader has read to a manifest: images found, patients split and dealt to sites."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.data.manifest import Manifest, load_manifest, write_manifest
from fedretune.data.readers import READERS, Reading
from fedretune.data.validation import SPLITS
from fedretune.errors import UserError
from fedretune.seeds import derive_seed

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


@dataclass(frozen=True)
class Plan:
    """How to make a manifest of a data set.

    Parameters
    ----------
    labels : Path
        The data set's own table.
    images : Path
        The folder that its images are in, at any depth.
    out : Path
        The manifest to write.
    shares : tuple[float, float, float]
        Of train, val and test, by patients; any scale.
    sites : int
        How many sites to deal the patients to; 0 for no `site` column.
    seed : int
    skip_missing : bool
        Whether a labelled image that is not there is left out, or an error.
    """

    labels: Path
    images: Path
    out: Path
    shares: tuple[float, float, float] = (70, 10, 20)
    sites: int = 0
    seed: int = 0
    skip_missing: bool = False


def make_manifest(reader: str, plan: Plan) -> tuple[Manifest, dict[str, int]]:
    """Write a manifest of a data set; return it, and how many images were dropped, by reason.

    Raises
    ------
    UserError
        The reader's faults; an image that is not there; two images of one name.
    """
    reading: Reading = READERS[reader](plan.labels)
    paths = _found(reading, plan)
    there = np.array([path is not None for path in paths], dtype=bool)
    table = reading.table[there].reset_index(drop=True)
    folder = plan.out.expanduser().absolute().parent.resolve()
    table["image"] = [_relative(path, folder) for path in paths if path is not None]
    table.insert(2, "split", _splits(table["patient"], plan.shares, plan.seed))
    if plan.sites:
        table.insert(3, "site", _sites(table, plan.sites, plan.seed))
    manifest = load_manifest(write_manifest(table, plan.out))
    missing = int((~there).sum())
    return manifest, {"no such image file": missing} if missing else {}


def _found(reading: Reading, plan: Plan) -> list[Path | None]:
    files = _files(plan.images)
    paths = [files.get(Path(name).name) for name in reading.table["image"]]
    gone = [row for row, path in enumerate(paths) if path is None]
    if len(gone) == len(paths):
        raise UserError(
            f"None of the {len(paths):,} images of {plan.labels} is under {plan.images} "
            f"({len(files):,} images there)."
        )
    if gone and not plan.skip_missing:
        raise UserError(
            f"{plan.labels}, line {reading.lines[gone[0]]}: there is no image "
            f"'{reading.table['image'].iloc[gone[0]]}' under {plan.images}; {len(gone):,} of "
            f"{len(paths):,} images are missing. --skip-missing leaves them out."
        )
    return paths


def _files(folder: Path) -> dict[str, Path]:
    """Return the image files under a folder by name: data sets name each image once."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    files: dict[str, Path] = {}
    for parent, _, names in os.walk(folder.resolve(), followlinks=True):
        for name in names:
            path = Path(parent, name)
            if path.suffix.lower() not in _SUFFIXES:
                continue
            if name in files:
                raise UserError(f"Two images have one name: {files[name]} and {path}.")
            files[name] = path
    return files


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()


def _shuffled(patients: Sequence[str], *seed: object) -> list[str]:
    """Return the patients in an order that hangs on their names and the seed alone."""
    return sorted(set(patients), key=lambda patient: (derive_seed(*seed, patient), patient))


def _splits(
    patients: "pd.Series[str]", shares: tuple[float, float, float], seed: int
) -> NDArray[np.str_]:
    """Return each row's split: patients in a shuffled order, cut at the shares."""
    order = _shuffled(patients.tolist(), seed, "split")
    ends = np.round(np.cumsum(shares) / np.sum(shares) * len(order)).astype(int)
    places = np.searchsorted(ends, np.arange(len(order)), side="right")
    split = {patient: SPLITS[place] for patient, place in zip(order, places, strict=True)}
    return np.array([split[patient] for patient in patients])


def _sites(table: pd.DataFrame, sites: int, seed: int) -> NDArray[np.str_]:
    """Deal the patients of each split round robin, so that each site has some of each."""
    width = len(str(sites))
    site: dict[str, str] = {}
    for split in SPLITS:
        patients = table.loc[table["split"] == split, "patient"].tolist()
        for place, patient in enumerate(_shuffled(patients, seed, "site")):
            site[patient] = f"site-{place % sites + 1:0{width}}"
    return np.array([site[patient] for patient in table["patient"]])
