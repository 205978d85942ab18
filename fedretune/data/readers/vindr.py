"""VinDr-CXR 1.0.0 (Nguyen et al., Scientific Data 2022): DICOM, with 27 findings and diagnoses.

``image_labels_train.csv`` has a row a radiologist, three an image: a finding is present where most
of them saw it, absent where most did not, and uncertain at a tie, which three cannot have.
``image_labels_test.csv`` has the consensus of five, one row an image; its images are the test set.
``No finding`` is the absence of the others and no finding. The data set tells no patients: each
image counts as its own, and splits cannot be held to be patient-disjoint.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fedretune.data.readers import Reader, Reading, Request, Wanted
from fedretune.data.tables import read_rows, where_of
from fedretune.data.validation import parse_findings
from fedretune.errors import UserError

#: In the order of the files: 22 findings that were drawn, and those of the whole image.
FINDINGS = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Clavicle fracture",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Enlarged PA",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Lung cavity",
    "Lung cyst",
    "Mediastinal shift",
    "Nodule/Mass",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "Rib fracture",
    "Other lesion",
    "COPD",
    "Lung tumor",
    "Pneumonia",
    "Tuberculosis",
    "Other diseases",
)
_ID = "image_id"
_OTHER = {"Other disease": "Other diseases"}  # as the test set's file has it


def read(request: Request) -> Reading:
    """Read VinDr-CXR's own tables; see `fedretune.data.readers.Reader`."""
    parts = [_majority(request.files["train"], "")]
    if "test" in request.files:
        rows, labels = _labels(request.files["test"])
        again = rows[_ID].duplicated().to_numpy()
        if again.any():
            line = where_of(rows)(int(again.argmax()))
            raise UserError(f"{line}: its image is on a line before already. Keep one of the two.")
        parts.append(_table(rows[_ID], "test", labels))
    return Reading(pd.concat(parts))


def _majority(path: Path, split: str) -> pd.DataFrame:
    rows, labels = _labels(path)
    share = labels.groupby(rows[_ID].to_numpy(), sort=False).mean()
    voted = share.gt(0.5).astype(np.float32).mask(share == 0.5, -1.0)
    first = rows[_ID][~rows[_ID].duplicated()]
    return _table(first, split, voted.set_axis(first.index))


def _table(ids: "pd.Series[str]", split: str, labels: pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame({"image": ids + ".dicom", "patient": ids, "split": split})
    return pd.concat([table, labels], axis=1)


def _labels(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a file's rows and their labels. Raises `UserError` for another than 0 and 1."""
    common = [name for name in FINDINGS if name not in _OTHER.values()]
    rows = read_rows(path, (_ID, *common), (*_OTHER, *_OTHER.values())).rename(columns=_OTHER)
    if missing := [name for name in FINDINGS if name not in rows]:
        raise UserError(f"{path} lacks the column '{missing[0]}'.")
    labels = parse_findings(rows[list(FINDINGS)], where_of(rows))
    known = labels.isin((0, 1)).all(axis=1).to_numpy()
    if not known.all():
        line = where_of(rows)(int(known.argmin()))
        raise UserError(f"{line}: a finding is neither 0 nor 1; is it VinDr-CXR's own file?")
    return rows, labels


READER = Reader(
    title="VinDr-CXR (physionet.org/content/vindr-cxr/1.0.0)",
    files=(
        Wanted("--train", "annotations/image_labels_train.csv."),
        Wanted("--test", "annotations/image_labels_test.csv.", required=False),
    ),
    read=read,
    example="--train annotations/image_labels_train.csv --test annotations/image_labels_test.csv "
    "--images . -o vindr.csv",
)
