"""RSNA Pneumonia Detection Challenge 2018 (Shih et al., Radiology: AI 2019), of Kaggle's stage 2.

``stage_2_train_labels.csv`` has a row a box, and one row where there is none: ``Target`` 1 says
that the image shows a lung opacity which the radiologists took for pneumonia. That is the finding
`Pneumonia`. With ``stage_2_detailed_class_info.csv`` there is the finding `Abnormal`: 0 for the
class ``Normal``, 1 for ``Lung Opacity`` and ``No Lung Opacity / Not Normal``.

``patientId`` stands for one image. The images come from NIH ChestX-ray14, up to dozens of one
patient, so splits are patient-disjoint only with RSNA's file of mappings to NIH's images. An image
for training is then left out where its patient has one in the test set.
"""

import json
from pathlib import Path

import pandas as pd

from fedretune.data.readers import Reader, Reading, Request, Wanted
from fedretune.data.tables import read_bytes, read_rows, where_of
from fedretune.data.validation import parse_findings
from fedretune.errors import UserError

_ID, _TARGET, _CLASS = "patientId", "Target", "class"
_CLASSES = {"Normal": 0.0, "Lung Opacity": 1.0, "No Lung Opacity / Not Normal": 1.0}


def read(request: Request) -> Reading:
    """Read RSNA's own tables; see `fedretune.data.readers.Reader`."""
    parts = [_images(request.files["labels"], "")]
    if "test-labels" in request.files:
        parts.append(_images(request.files["test-labels"], "test"))
    images = pd.concat(parts)
    table = pd.DataFrame(
        {
            "image": images[_ID] + ".dcm",
            "patient": _patients(images, request),
            "split": images["split"],
            "Pneumonia": images[_TARGET],
        }
    )
    if "classes" in request.files:
        table["Abnormal"] = images[_ID].map(_abnormal(request.files["classes"]))
    return _disjoint(table)


def _disjoint(table: pd.DataFrame) -> Reading:
    """Leave out images for training whose patient is in the test set: RSNA drew images."""
    tested = table["patient"][table["split"] == "test"]
    leaks = (table["split"] == "") & table["patient"].isin(tested)
    dropped = {"its patient is in the test set": int(leaks.sum())} if leaks.any() else {}
    return Reading(table[~leaks], dropped)


def _images(path: Path, split: str) -> pd.DataFrame:
    """Return one row an image: a box more is not another image."""
    rows = read_rows(path, (_ID, _TARGET))
    where = where_of(rows)
    rows[_TARGET] = parse_findings(rows[[_TARGET]], where)[_TARGET]
    known = rows[_TARGET].isin((0, 1)).to_numpy()
    if not known.all():
        raise UserError(f"{where(int(known.argmin()))}: '{_TARGET}' is neither 0 nor 1.")
    differs = (rows.groupby(_ID)[_TARGET].transform("first") != rows[_TARGET]).to_numpy()
    if differs.any():
        raise UserError(
            f"{where(int(differs.argmax()))}: '{_TARGET}' is another than on a line before of the "
            "same image."
        )
    return rows[~rows[_ID].duplicated()].assign(split=split)


def _patients(images: pd.DataFrame, request: Request) -> "pd.Series[str]":
    """Return NIH's patient of each image, or else the image's own id."""
    if "mappings" not in request.files:
        return images[_ID]
    path = request.files["mappings"]
    try:
        entries = json.loads(read_bytes(path))
        patients = {
            str(entry["subset_img_id"]): str(entry["img_id"]).split("_")[0] for entry in entries
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is not RSNA's list of mappings (JSON, with 'subset_img_id' and 'img_id')."
        ) from error
    found = images[_ID].map(patients)
    if found.isna().any():
        row = int(found.isna().to_numpy().argmax())
        raise UserError(f"{where_of(images)(row)}: its image is not in {path}.")
    return found


def _abnormal(path: Path) -> dict[str, float]:
    rows = read_rows(path, (_ID, _CLASS))
    known = rows[_CLASS].isin(list(_CLASSES)).to_numpy()
    if not known.all():
        raise UserError(
            f"{where_of(rows)(int(known.argmin()))}: '{_CLASS}' is none of {', '.join(_CLASSES)}."
        )
    return dict(zip(rows[_ID], rows[_CLASS].map(_CLASSES), strict=True))


READER = Reader(
    title="RSNA Pneumonia Detection Challenge "
    "(kaggle.com/competitions/rsna-pneumonia-detection-challenge)",
    files=(
        Wanted("--labels", "stage_2_train_labels.csv."),
        Wanted("--classes", "stage_2_detailed_class_info.csv: adds 'Abnormal'.", required=False),
        Wanted(
            "--test-labels", "Labels of the 3,000 test images, in the same columns.", required=False
        ),
        Wanted(
            "--mappings",
            "pneumonia-challenge-dataset-mappings_2018.json, from RSNA: NIH's patients. Without "
            "it each image counts as its own patient, and patients are in several splits.",
            required=False,
        ),
    ),
    read=read,
    example="--labels stage_2_train_labels.csv --images . "
    "--mappings pneumonia-challenge-dataset-mappings_2018.json -o rsna.csv",
)
