"""MIMIC-CXR-JPG 2.0 (Johnson et al., 2019): ``mimic-cxr-2.0.0-{split,metadata,...}.csv.gz``.

The metadata and the split list have one row an image. CheXpert's or NegBio's labels have one a
study, which all its images get; they are read as CheXpert's own are. The official split is kept,
`validate` as `val`. Images are at ``files/p10/p10000032/s50414267/<dicom_id>.jpg``.
"""

import pandas as pd

from fedretune.data.readers import Reader, Reading, Request, Wanted
from fedretune.data.readers.columns import (
    BLANK,
    NO_FINDING,
    VIEWS,
    chexpert_labels,
    iso_dates,
    key_of,
    of_views,
    unique_key_of,
)
from fedretune.data.tables import read_rows, where_of
from fedretune.errors import UserError
from fedretune.findings import CHEXPERT13

_STUDY = ["subject_id", "study_id"]
_IMAGE = [*_STUDY, "dicom_id"]
_SPLITS = {"train": "train", "validate": "val", "test": "test"}


def read(request: Request) -> Reading:
    """Read MIMIC-CXR's own tables; see `fedretune.data.readers.Reader`."""
    rows = read_rows(request.files["metadata"], (*_IMAGE, "ViewPosition", "StudyDate"))
    splits = _splits(request)
    labels = read_rows(request.files["labels"], (*_STUDY, *CHEXPERT13), (NO_FINDING,))
    findings = chexpert_labels(labels, request.text("blank"))

    image = unique_key_of(splits, _IMAGE).get_indexer(unique_key_of(rows, _IMAGE))
    study = unique_key_of(labels, _STUDY).get_indexer(key_of(rows, _STUDY))
    known = (image >= 0) & (study >= 0)
    if not known.any():
        raise UserError(
            f"No image of {request.files['metadata']} is in both {request.files['split-list']} "
            f"and {request.files['labels']}: are they of one data set?"
        )
    dropped = {"not in the split list": int((image < 0).sum())}
    dropped["no labels for its study"] = int((image >= 0).sum() - known.sum())

    table = _images(rows[known]).assign(split=splits["split"].to_numpy()[image[known]])
    table[list(CHEXPERT13)] = findings.to_numpy()[study[known]]
    table, others = of_views(table, request.text("views"))
    return Reading(table, {reason: n for reason, n in {**dropped, **others}.items() if n})


def _splits(request: Request) -> pd.DataFrame:
    rows = read_rows(request.files["split-list"], (*_IMAGE, "split"))
    split = rows["split"].map(_SPLITS)
    unknown = split.isna().to_numpy()
    if unknown.any():
        raise UserError(
            f"{where_of(rows)(int(unknown.argmax()))}: 'split' is not one of {', '.join(_SPLITS)}."
        )
    return rows.assign(split=split)


def _images(rows: pd.DataFrame) -> pd.DataFrame:
    subject = "p" + rows["subject_id"]
    folder = "files/" + subject.str[:3] + "/" + subject + "/s" + rows["study_id"]
    return pd.DataFrame(
        {
            "image": folder + "/" + rows["dicom_id"] + ".jpg",
            "patient": rows["subject_id"],
            "view": rows["ViewPosition"],
            "date": iso_dates(rows["StudyDate"]),
        }
    )


READER = Reader(
    title="MIMIC-CXR-JPG (MIT; physionet.org/content/mimic-cxr-jpg)",
    files=(
        Wanted("--split-list", "mimic-cxr-2.0.0-split.csv or .csv.gz."),
        Wanted("--metadata", "mimic-cxr-2.0.0-metadata.csv or .csv.gz."),
        Wanted("--labels", "mimic-cxr-2.0.0-chexpert.csv or -negbio.csv, or either as .gz."),
    ),
    read=read,
    example="--split-list mimic-cxr-2.0.0-split.csv.gz --metadata mimic-cxr-2.0.0-metadata.csv.gz "
    "--labels mimic-cxr-2.0.0-chexpert.csv.gz --images mimic-cxr-jpg/2.0.0/ -o mimic.csv",
    options=(VIEWS, BLANK),
    images=Wanted("--images", "The folder that holds files/."),
)
