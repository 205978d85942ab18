"""From what a reader has read to a manifest: images found, patients split and dealt to sites."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.data.manifest import OPTIONAL, Manifest, load_manifest, write_manifest
from fedretune.data.readers import READERS, Option, Reader, Reading, Request, Value
from fedretune.data.readers.roots import Root
from fedretune.data.tables import where_of
from fedretune.data.validation import REQUIRED, SPLITS, check_structure
from fedretune.errors import UserError, one_of
from fedretune.seeds import derive_seed


@dataclass(frozen=True)
class Plan:
    """How to make a manifest of a data set.

    Parameters
    ----------
    images : Path
        The folder that its images are in.
    files : Mapping[str, Path]
        The data set's own files, by `Wanted.key`.
    out : Path
        The manifest to write.
    options : Mapping[str, str | bool | tuple[str, ...]] (default: {})
        The reader's own, by `Option.key`, where not the default.
    shares : tuple[float, float, float] (default: (70, 10, 20))
        Of train, val and test, by patients; any scale. A data set's own splits go before.
    sites : int (default: 0)
        How many sites to deal the patients to; 0 for the data set's own, or none.
    seed : int (default: 0)
    skip_missing : bool (default: False)
        Whether a labelled image that is not there is left out, or an error.
    follow_links : bool (default: False)
        Whether links may lead out of the images' folder.
    """

    images: Path
    files: Mapping[str, Path]
    out: Path
    options: Mapping[str, Value] = field(default_factory=dict)
    shares: tuple[float, float, float] = (70, 10, 20)
    sites: int = 0
    seed: int = 0
    skip_missing: bool = False
    follow_links: bool = False


@dataclass(frozen=True, eq=False)
class Made:
    """A manifest that was written; see `Reading` for what was dropped and not mapped."""

    manifest: Manifest
    dropped: Mapping[str, int]
    unmapped: Mapping[str, int]


def make_manifest(name: str, plan: Plan) -> Made:
    """Write the manifest of a data set that a reader knows.

    Raises
    ------
    UserError
        The reader's faults; an image that is not there, is there twice or lies outside its
        folder; a patient in two splits or sites. Nothing is written then.
    """
    reader: Reader = READERS[name]
    root = Root(plan.images, plan.follow_links)
    folder = plan.out.expanduser().absolute().parent.resolve()
    reading = reader.read(_request(reader, plan, root, folder))
    table, missing = _with_images(reading, root, plan)
    if plan.sites and "site" in table:
        raise UserError("--sites: the data set has sites of its own. Leave one of the two out.")
    dropped = {**reading.dropped, **({"no such image file": missing} if missing else {})}
    table = _with_splits(table, plan)
    fixed = [column for column in (*REQUIRED, *OPTIONAL) if column in table]
    findings = tuple(str(column) for column in table if column not in fixed)
    check_structure(Path(str(table.index[0][0])), table[fixed], findings, where_of(table))
    table = table[[*fixed, *findings]].reset_index(drop=True)
    if plan.sites:
        table.insert(3, "site", _sites(table, plan.sites, plan.seed))
    table["image"] = _prefix(root.path, folder) + table["image"]
    return Made(load_manifest(write_manifest(table, plan.out)), dropped, reading.unmapped)


def _request(reader: Reader, plan: Plan, root: Root, folder: Path) -> Request:
    for key in plan.files:
        one_of("file of the data set", key, (wanted.key for wanted in reader.files))
    for key in plan.options:
        one_of("option of the reader", key, (option.key for option in reader.options))
    for wanted in reader.files:
        if wanted.key in plan.files and not plan.files[wanted.key].exists():
            raise UserError(f"There is no {plan.files[wanted.key]} ({wanted.option}).")
        if wanted.key in plan.files and _same(plan.files[wanted.key], plan.out):
            raise UserError(f"--out would overwrite {plan.out} ({wanted.option}). Choose another.")
        if wanted.required and wanted.key not in plan.files:
            raise UserError(f"{wanted.option} is missing: {wanted.help}")
    options = {option.key: _value(option, plan.options) for option in reader.options}
    return Request(root.path, plan.files, options, folder, plan.follow_links)


def _same(file: Path, out: Path) -> bool:
    return out.exists() and file.samefile(out)


def _value(option: Option, given: Mapping[str, Value]) -> Value:
    value = given.get(option.key, option.default)
    if option.allowed:
        one_of(f"value of {option.option}", str(value), option.allowed)
    return value


def _with_images(reading: Reading, root: Root, plan: Plan) -> tuple[pd.DataFrame, int]:
    """Return the rows whose image is there, `image` relative to the root; and how many are not."""
    table, where = reading.table, where_of(reading.table)
    for column in [name for name in (*REQUIRED, *OPTIONAL) if name in table]:
        control = table[column].str.contains(r"[\x00-\x1f\x7f]", regex=True).to_numpy()
        if control.any():
            row = int(control.argmax())
            raise UserError(f"{where(row)}: '{column}' has a control character. Take it out.")
    found = root.locate(table["image"], where)
    there = np.array([path is not None for path in found], dtype=bool)
    gone = int((~there).sum())
    if gone == len(table):
        raise UserError(
            f"None of the {gone:,} images is under {root.path}: is it the right folder?"
        )
    if gone and not plan.skip_missing:
        raise UserError(
            f"{where(int(there.argmin()))}: its image is not under {root.path}; {gone:,} of "
            f"{len(table):,} images are missing. --skip-missing leaves them out."
        )
    paths = [path for path in found if path is not None]
    return table[there].assign(image=paths), gone


def _with_splits(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Keep the data set's own splits; cut the other patients into the splits that it leaves open.

    So an official test set stays the test set, and what is left is cut into train and val.
    """
    own = table["split"] if "split" in table else pd.Series("", index=table.index)
    open_rows = (own == "").to_numpy()
    if not open_rows.any():
        return table
    taken = set(own[~open_rows])
    splits = [split for split in SPLITS if split not in taken]
    shares = [share for share, split in zip(plan.shares, SPLITS, strict=True) if split in splits]
    if not splits:
        raise UserError(
            f"{where_of(table)(int(open_rows.argmax()))}: no split, and {open_rows.sum():,} such "
            f"in all, while others have {', '.join(SPLITS)}. Give all images one, or leave one of "
            "the three to be cut."
        )
    if not sum(shares):
        raise UserError(
            f"--split gives no share to {', '.join(splits)}, where {open_rows.sum():,} images of "
            "no split of their own belong."
        )
    split = own.to_numpy(dtype=object, copy=True)
    split[open_rows] = _cut(table["patient"][open_rows], splits, shares, plan.seed)
    return table.assign(split=split)


def _prefix(root: Path, folder: Path) -> str:
    try:
        path = Path(os.path.relpath(root, folder)).as_posix()
    except ValueError:  # another drive
        path = root.as_posix()
    return "" if path == "." else f"{path}/"


def _shuffled(patients: Sequence[str], *seed: object) -> list[str]:
    """Return the patients in an order that hangs on their names and the seed alone."""
    return sorted(set(patients), key=lambda patient: (derive_seed(*seed, patient), patient))


def _cut(
    patients: "pd.Series[str]", splits: Sequence[str], shares: Sequence[float], seed: int
) -> NDArray[np.object_]:
    """Return each row's split: patients in a shuffled order, cut at the shares."""
    order = _shuffled(patients.tolist(), seed, "split")
    ends = np.round(np.cumsum(shares) / np.sum(shares) * len(order)).astype(int)
    places = np.searchsorted(ends, np.arange(len(order)), side="right")
    split = {patient: splits[place] for patient, place in zip(order, places, strict=True)}
    return np.array([split[patient] for patient in patients], dtype=object)


def _sites(table: pd.DataFrame, sites: int, seed: int) -> NDArray[np.str_]:
    """Deal the patients of each split round robin, so that each site has some of each."""
    width = len(str(sites))
    site: dict[str, str] = {}
    for split in SPLITS:
        patients = table.loc[table["split"] == split, "patient"].tolist()
        for place, patient in enumerate(_shuffled(patients, seed, "site")):
            site[patient] = f"site-{place % sites + 1:0{width}}"
    return np.array([site[patient] for patient in table["patient"]])
