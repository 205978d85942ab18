"""NIH ChestX-ray14 (Wang et al., CVPR 2017): the official ``Data_Entry_2017*.csv``.

One row an image; ``Finding Labels`` is ``No Finding`` or names joined by ``|``, and a finding that
is not named is absent. The official lists say which images are for training and validation, and
which for testing; without them patients are cut by ``--split``, as the LoRA study ("Less Could Be
Better", arXiv 2401.12215) does with 70/10/20.
"""

import numpy as np
import pandas as pd

from fedretune.data.readers import Reader, Reading, Request, Wanted
from fedretune.data.tables import read_lines, read_rows, where_of
from fedretune.errors import UserError
from fedretune.findings import NIH14

_IMAGE, _LABELS, _PATIENT, _VIEW = "Image Index", "Finding Labels", "Patient ID", "View Position"
_NOTHING = "No Finding"


def read(request: Request) -> Reading:
    """Read NIH's own table; see `fedretune.data.readers.Reader`."""
    rows = read_rows(request.files["labels"], (_IMAGE, _LABELS, _PATIENT), (_VIEW,))
    table = pd.DataFrame({"image": rows[_IMAGE], "patient": rows[_PATIENT]})
    if _VIEW in rows:
        table["view"] = rows[_VIEW]
    listed = _official_splits(table["image"], request)
    if listed is None:
        return Reading(pd.concat([table, _findings(rows)], axis=1))
    known = listed.notna()
    table = pd.concat([table.assign(split=listed), _findings(rows)], axis=1)[known]
    others = int((~known).sum())
    return Reading(table, {"in neither official list": others} if others else {})


def _official_splits(images: "pd.Series[str]", request: Request) -> "pd.Series[str] | None":
    """Return "test" where the official list says so, "" (train or val) where the other one does.

    Raises
    ------
    UserError
        One list is given without the other; an image is in both; neither list knows any image.
    """
    paths = [request.files.get(name) for name in ("train-val-list", "test-list")]
    if paths == [None, None]:
        return None
    if paths[0] is None or paths[1] is None:
        raise UserError("--train-val-list and --test-list go together: give both, or none.")
    train_val, test = (read_lines(path) for path in paths if path)
    if both := train_val & test:
        raise UserError(f"{paths[1]}: {len(both):,} images are in {paths[0]} too.")
    splits = images.map({**dict.fromkeys(train_val, ""), **dict.fromkeys(test, "test")})
    if not splits.notna().any():
        raise UserError(f"{paths[0]} and {paths[1]} name none of the images of the labels' file.")
    return splits


def _findings(rows: pd.DataFrame) -> pd.DataFrame:
    """Return 1 or 0 for each finding. Each combination is parsed once: there are some 800."""
    codes, cells = pd.factorize(rows[_LABELS])
    combinations = [
        [] if cell == _NOTHING else [name.strip().replace("_", " ") for name in cell.split("|")]
        for cell in cells
    ]
    for code, names in enumerate(combinations):
        if unknown := [name for name in names if name not in NIH14]:
            raise UserError(
                f"{where_of(rows)(int((codes == code).argmax()))}: '{unknown[0][:40]}' is no "
                f"finding of NIH ChestX-ray14. Allowed: '{_NOTHING}', or of these, joined by '|': "
                f"{', '.join(NIH14)}."
            )
    positive = [[int(finding in names) for finding in NIH14] for names in combinations]
    return pd.DataFrame(np.array(positive)[codes], columns=NIH14, index=rows.index)


READER = Reader(
    title="NIH ChestX-ray14 (NIH Clinical Center; nihcc.app.box.com/v/ChestXray-NIHCC)",
    files=(
        Wanted("--labels", "Data_Entry_2017.csv or Data_Entry_2017_v2020.csv."),
        Wanted("--train-val-list", "train_val_list.txt: its patients are cut by --split.", False),
        Wanted("--test-list", "test_list.txt: the official test set.", False),
    ),
    read=read,
    example="--labels Data_Entry_2017_v2020.csv --images images/ --train-val-list "
    "train_val_list.txt --test-list test_list.txt -o nih14.csv",
    images=Wanted("--images", "The folder that its PNG images are in, at any depth."),
)
