"""A folder of DICOM files, and perhaps a table of labels: what a hospital has.

Headers alone are read. Of a header the manifest gets the view, on request the date, and the
patient as a salted hash (`fedretune.data.patients`) of ``PatientID`` and, where there is one,
``IssuerOfPatientID``. The table of labels is read as ``fedretune manifest csv`` reads one, and
joined by a key of the header or by the file's path.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from fedretune.data.dicom.study import MODALITIES, Study, read_study
from fedretune.data.patients import load_salt, pseudonym
from fedretune.data.readers import Option, Reader, Reading, Request, Wanted, own_table
from fedretune.data.readers.columns import VIEWS, of_views
from fedretune.data.readers.roots import Root
from fedretune.errors import UserError
from fedretune.findings import NIH14

_THREADS = 8  # a hospital's disks are far away
_DATES = {"none": 0, "year": 4, "month": 7, "day": 10}  # characters of a date to keep
_KEYS = ("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID", "path", "name")

#: Options of the table of labels, as ``fedretune manifest csv`` has them.
_OF_TABLE = (
    "finding",
    "ignore",
    "positive",
    "negative",
    "uncertain",
    "unlabelled",
    "separator",
    "encoding",
)
_OWN = ("split-column", "site-column")

#: What a table of text cannot hold: control characters, and bytes that are no UTF-8.
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

Found = dict[str, Study]  # by path, relative to the folder


def read(request: Request) -> Reading:
    """Read a folder of DICOM files; see `fedretune.data.readers.Reader`."""
    studies, dropped = _kept(request)
    if not studies:
        said = "; ".join(f"{number:,} x {reason}" for reason, number in dropped.items())
        raise UserError(f"No radiograph is under {request.images} ({said or 'no files'}).")
    _check_paths(studies, request)
    places = pd.MultiIndex.from_arrays(
        [[str(request.images / path) for path in studies], [0] * len(studies)],
        names=("file", "line"),
    )
    table = pd.DataFrame(_columns(studies, request), index=places, dtype=str)
    table, more = _with_labels(table, studies, request)
    dropped.update(more)
    table, more = of_views(table, request.text("views"))
    dropped.update(more)
    return Reading(table, dropped)


def _kept(request: Request) -> tuple[Found, Counter[str]]:
    """Return the radiographs of a folder, and how many other files there are, by reason."""
    kept: Found = {}
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    for path, study in _studies(request):
        reason = "not a DICOM file" if study is None else _unwanted(study, request)
        if study is not None and _NO_TEXT.search(path):
            reason = "a path with a control character, or not in UTF-8"
        if study is not None and not reason and study.instance in seen:
            reason = "the same image again (SOPInstanceUID)"
        if study is None or reason:
            dropped[reason] += 1
            continue
        kept[path] = study
        seen.update({study.instance} - {""})
    return kept, dropped


def _studies(request: Request) -> Iterator[tuple[str, Study | None]]:
    root = Root(request.images, request.follow_links)
    paths = [
        str(PurePosixPath(folder, entry.name))
        for folder, entries in root.walk()
        for entry in entries
    ]
    inside = [
        path
        for row, path in enumerate(paths)
        if root.holds(path, lambda at: str(root.path / paths[at]), row)
    ]

    def study(path: str) -> Study | None:
        try:
            return read_study(root.path / path)
        except OSError as error:
            raise UserError(f"Cannot read {root.path / path}: {error.strerror}.") from error

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from zip(inside, pool.map(study, inside), strict=True)


def _unwanted(study: Study, request: Request) -> str:
    """Return why an image is left out; "" where it is not."""
    if study.refused:
        return study.refused
    if study.raw:
        return "raw data of a detector (FOR PROCESSING)"
    if study.modality not in MODALITIES and not request.options["any-modality"]:
        return f"a modality other than {', '.join(sorted(MODALITIES))} (see --any-modality)"
    if not study.of_chest and not request.options["any-body-part"]:
        return "a body part other than the chest (see --any-body-part)"
    return "" if study.patient else "no PatientID in its header"


def _check_paths(studies: Found, request: Request) -> None:
    """Raise `UserError` if paths, which the manifest holds, name patients. Shows none."""
    named = sum(study.identifies(path) for path, study in studies.items())
    if named and not request.options["keep-paths"]:
        raise UserError(
            f"{named:,} of {len(studies):,} files under {request.images} have their patient's id "
            "or name in their path, which the manifest would hold. Rename files and folders, or "
            "give --keep-paths if the manifest is as safe as they are."
        )


def _columns(studies: Found, request: Request) -> dict[str, list[str]]:
    salt = load_salt(request.folder)
    kept = _DATES[request.text("dates")]
    columns = {
        "image": list(studies),
        "patient": [_pseudonym(salt, study) for study in studies.values()],
        "view": [study.view for study in studies.values()],
    }
    if kept:
        columns["date"] = [study.date[:kept] for study in studies.values()]
    return columns


def _pseudonym(salt: bytes, study: Study) -> str:
    """Hash the id alone where nobody issued it: as ``manifest csv`` hashes the id of a table."""
    issued = f"{study.patient}\x1f{study.issuer}" if study.issuer else study.patient
    return pseudonym(salt, issued)


def _with_labels(
    table: pd.DataFrame, studies: Found, request: Request
) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """Return the rows with their labels, those without a line left out; all NaN without a table."""
    if "labels" not in request.files:
        findings = request.texts("finding") or NIH14
        return table.assign(**dict.fromkeys(findings, np.nan)), {}
    labels = _labels(request)
    keys = pd.Index([_key(path, study, request) for path, study in studies.items()])
    rows = labels.index.get_indexer(keys)
    if not (rows >= 0).any():
        raise UserError(
            f"No line of {request.files['labels']} has the {request.text('labels-key')} of an "
            f"image under {request.images}. Look at --labels-key and --labels-column."
        )
    found = labels.iloc[rows[rows >= 0]].set_axis(table.index[rows >= 0])
    without = int((rows < 0).sum())
    unused = len(labels) - len(set(rows[rows >= 0]))
    dropped = {
        "no line in the table of labels": without,
        "in the table of labels, and no such image": unused,
    }
    joined = pd.concat([table[rows >= 0], found], axis=1)
    return joined, {reason: number for reason, number in dropped.items() if number}


def _key(path: str, study: Study, request: Request) -> str:
    return {
        "SOPInstanceUID": study.instance,
        "StudyInstanceUID": study.study,
        "AccessionNumber": study.accession,
        "PatientID": study.patient,
        "path": path,
        "name": PurePosixPath(path).name,
    }[request.text("labels-key")]


def _labels(request: Request) -> pd.DataFrame:
    """Return the table of labels by its key: findings, and `split` and `site` if it has them."""
    key = request.text("labels-column") or request.text("labels-key")
    options = {option.key: option.default for option in own_table.READER.options}
    options |= {name: request.options[name] for name in (*_OF_TABLE, *_OWN)}
    options |= {"image-column": key, "patient-column": key, "keep-patient-ids": True}
    files = {"table": request.files["labels"]}
    rows = own_table.read(
        Request(request.images, files, options, request.folder, request.follow_links)
    ).table
    again = rows["image"].duplicated()
    if again.any():
        file, line = rows.index[int(again.argmax())]
        raise UserError(f"{file}, line {line}: its {key} is on a line before already. Keep one.")
    others = [name for name in ("patient", "view", "date", "experience") if name in rows]
    return rows.set_index("image").drop(columns=others)


_TABLE_OPTIONS = {option.key: option for option in own_table.READER.options}

READER = Reader(
    title="A folder of DICOM files, at any depth. Patients' ids become salted hashes; a table of "
    "labels is joined by a key.",
    files=(
        Wanted(
            "--labels",
            "A table of labels, saved as CSV; without one, findings are there and not labelled.",
            required=False,
        ),
    ),
    read=read,
    example="xrays/ --labels findings.csv --labels-key AccessionNumber -o hospital.csv",
    images=Wanted("FOLDER", "The folder of DICOM files."),
    options=(
        Option("--labels-key", "What joins the table to the images.", "SOPInstanceUID", _KEYS),
        Option("--labels-column", "The table's column of the key; by default the key's name."),
        Option(
            "--dates",
            "How much of a study's date the manifest holds: dates identify patients.",
            "none",
            tuple(_DATES),
        ),
        VIEWS,
        Option("--any-modality", "Take images of any modality, not radiographs alone.", False),
        Option(
            "--any-body-part", "Take images whose body part is said not to be the chest.", False
        ),
        Option("--keep-paths", "Allow paths that have a patient's id or name in them.", False),
        *(_TABLE_OPTIONS[name] for name in (*_OF_TABLE, *_OWN)),
    ),
)
