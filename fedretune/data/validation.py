"""What a manifest must be, and messages that say where it is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fedretune.errors import UserError

REQUIRED = ("image", "patient", "split")
SPLITS = ("train", "val", "test")

#: From a row's position to "FILE, line N", for messages.
Where = Callable[[int], str]

_LABELS = {"1": 1.0, "0": 0.0, "-1": -1.0, "1.0": 1.0, "0.0": 0.0, "-1.0": -1.0, "": np.nan}


def check_header(path: Path, columns: list[str]) -> None:
    """Raise `UserError` for a missing, nameless or repeated column."""
    if missing := [name for name in REQUIRED if name not in columns]:
        raise UserError(
            f"{path} lacks the column {', '.join(missing)}: a manifest is a comma-separated table "
            f"with {', '.join(REQUIRED)} and one column a finding."
        )
    if "" in columns:
        raise UserError(f"{path}: column {columns.index('') + 1} has no name; give it one.")
    if repeated := [name for name in columns if columns.count(name) > 1]:
        raise UserError(f"{path}: the column '{repeated[0]}' is there twice; rename or drop one.")


def check_structure(
    path: Path, text: pd.DataFrame, findings: tuple[str, ...], where: Where
) -> None:
    """Check everything but the labels. Raises `UserError` naming a line and the mend.

    Parameters
    ----------
    path : Path
        The table's file, for messages.
    text : pandas.DataFrame
        The columns that are not findings, as text.
    findings : tuple[str, ...]
    where : Callable[[int], str]
    """
    if not findings:
        raise UserError(f"{path} has no finding column: add one a finding, with 1, 0, -1 or empty.")
    if text.empty:
        raise UserError(f"{path} has no rows: a manifest lists one image a row.")
    for column in (*REQUIRED, "site"):
        if column in text and (text[column] == "").any():
            row = int((text[column] == "").to_numpy().argmax())
            raise UserError(f"{where(row)}: '{column}' is empty; every row needs one.")
    _check_splits(text, where)
    _check_unique_images(text, where)
    for column in ("split", "site"):
        if column in text:
            _check_one_each(path, text, column, where)


def parse_findings(text: pd.DataFrame, where: Where) -> pd.DataFrame:
    """Return the labels, written without spaces, as float32, NaN where empty.

    Raises
    ------
    UserError
        Another value than 1, 0, -1 or empty. Names the column and the line, not the value: it may
        be a patient's name.
    """
    parsed = {}
    for finding in text.columns:
        cells = text[finding]
        known = cells.isin(list(_LABELS)).to_numpy()
        if not known.all():
            row = int(known.argmin())
            raise UserError(
                f"{where(row)}: the finding '{finding}' is none of 1 (present), 0 (absent), "
                "-1 (uncertain) and empty (not labelled). Take the column out if it is no finding."
            )
        parsed[finding] = cells.map(_LABELS).astype(np.float32)
    return pd.DataFrame(parsed, index=text.index)


def _check_splits(text: pd.DataFrame, where: Where) -> None:
    known = text["split"].isin(SPLITS).to_numpy()
    if not known.all():
        row = int(known.argmin())
        raise UserError(
            f"{where(row)}: the split is {text['split'].iloc[row][:40]!r}. "
            f"Allowed: {', '.join(SPLITS)}."
        )


def _check_unique_images(text: pd.DataFrame, where: Where) -> None:
    """Check that an image has one row. Names no image: hospitals put patients into file names."""
    again = text["image"].duplicated().to_numpy()
    if again.any():
        row = int(again.argmax())
        first = int((text["image"] == text["image"].iloc[row]).to_numpy().argmax())
        raise UserError(
            f"{where(row)}: the same image is at {where(first)} already. Keep one of the two "
            f"({again.sum():,} such in all)."
        )


def _check_one_each(path: Path, text: pd.DataFrame, column: str, where: Where) -> None:
    """Check that a patient has one split, and one site. Names no patient: an id is not ours."""
    first = text.groupby("patient")[column].transform("first")
    differs = (text[column] != first).to_numpy()
    if differs.any():
        count = text["patient"][differs].nunique()
        what = "patient is" if count == 1 else "patients are"
        raise UserError(
            f"{path}: {count:,} {what} in more than one {column} (for example at "
            f"{where(int(differs.argmax()))}). Give all images of a patient the same {column}, or "
            "a model is tested on patients that it has seen."
        )
