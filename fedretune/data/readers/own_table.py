"""Anyone's own table: columns, words, separator and encoding by options.

A hospital's spreadsheet, saved as CSV: one row an image. Patients' ids become salted hashes
(`fedretune.data.patients`) unless ``--keep-patient-ids``. Messages name lines and columns, never a
cell: it may hold a name.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from fedretune.data.manifest import OPTIONAL
from fedretune.data.patients import identifies, load_salt, pseudonym
from fedretune.data.readers import Option, Reader, Reading, Request, Wanted
from fedretune.data.tables import decode, header_of, parse_rows, read_bytes, where_of
from fedretune.data.validation import REQUIRED, SPLITS
from fedretune.errors import UserError

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}

_VALUES = {"positive": 1.0, "negative": 0.0, "uncertain": -1.0, "unlabelled": np.nan}

#: What is understood in any table; an empty cell may be given another meaning.
_WORDS = {
    "": "unlabelled",
    **dict.fromkeys(("1", "1.0"), "positive"),
    **dict.fromkeys(("0", "0.0"), "negative"),
    **dict.fromkeys(("-1", "-1.0"), "uncertain"),
}

_SPLIT_WORDS = {
    **{name: name for name in SPLITS},
    "": "",
    "training": "train",
    "validation": "val",
    "validate": "val",
    "valid": "val",
    "dev": "val",
    "testing": "test",
}


def read(request: Request) -> Reading:
    """Read a table of the user's own; see `fedretune.data.readers.Reader`."""
    path = request.files["table"]
    text = decode(path, read_bytes(path), request.text("encoding"))
    separator = _separator(text, request)
    header = header_of(path, text, separator)
    columns = _columns(request, header)
    findings = _findings(path, request, header, columns)
    rows = parse_rows(path, text, separator, [*columns.values(), *findings])
    table = pd.DataFrame({name: rows[column] for name, column in columns.items()})
    table["image"] = table["image"].str.replace("\\", "/")
    if "split" in table:
        table["split"] = _splits(table["split"], columns["split"])
    table["patient"] = _patients(table, columns["patient"], request)
    words = _words(request)
    labels = {name: _labels(rows, name, words) for name in findings}
    return Reading(pd.concat([table, pd.DataFrame(labels, index=table.index)], axis=1))


def _separator(text: str, request: Request) -> str:
    """Return the given separator, or the one that finds the image's column in the first line."""
    if request.text("separator") != "auto":
        return SEPARATORS[request.text("separator")]
    first = text.split("\n", 1)[0]
    found = [
        separator
        for separator in SEPARATORS.values()
        if request.text("image-column") in _cells(first, separator)
    ]
    return max(found or SEPARATORS.values(), key=first.count)


def _cells(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return []


def _columns(request: Request, header: list[str]) -> dict[str, str]:
    """Return which column holds what: those of the options, else those of the manifest's names."""
    columns = {}
    for name in (*REQUIRED, *OPTIONAL):
        given = str(request.options.get(f"{name}-column", ""))
        if given or name in header:
            columns[name] = given or name
    return columns


def _findings(
    path: Path, request: Request, header: list[str], columns: dict[str, str]
) -> list[str]:
    reserved = {*REQUIRED, *OPTIONAL}
    named, ignored = request.texts("finding"), request.texts("ignore")
    if wrong := [name for name in named if name in reserved]:
        raise UserError(f"--finding: '{wrong[0]}' is the name of another column of a manifest.")
    if unknown := [name for name in ignored if name not in header]:
        raise UserError(f"--ignore: {path} has no column '{unknown[0]}'.")
    taken = {*columns.values(), *ignored, *reserved, ""}
    return list(dict.fromkeys(named or (name for name in header if name not in taken)))


def _splits(column: "pd.Series[str]", name: str) -> "pd.Series[str]":
    splits = column.str.lower().map(_SPLIT_WORDS)
    unknown = splits.isna().to_numpy()
    if unknown.any():
        raise UserError(
            f"{where_of(column.to_frame())(int(unknown.argmax()))}: '{name}' is no split. Allowed: "
            f"{', '.join(word for word in _SPLIT_WORDS if word)}; empty to have it chosen."
        )
    return splits


def _patients(table: pd.DataFrame, column: str, request: Request) -> "pd.Series[str]":
    patients = table["patient"]
    if (patients == "").any():
        row = int((patients == "").to_numpy().argmax())
        raise UserError(f"{where_of(table)(row)}: '{column}' is empty; every row needs a patient.")
    if request.options["keep-patient-ids"]:
        return patients
    if not request.options["keep-paths"]:
        _check_paths(table)
    salt = load_salt(request.folder)
    return patients.map({patient: pseudonym(salt, patient) for patient in patients.unique()})


def _check_paths(table: pd.DataFrame) -> None:
    """Raise `UserError` if paths, which the manifest holds, name patients. Shows none."""
    named = [
        row
        for row, (path, patient) in enumerate(zip(table["image"], table["patient"], strict=True))
        if identifies(path, [patient])
    ]
    if named:
        raise UserError(
            f"{where_of(table)(named[0])}: the image's path has its patient's id in it, which the "
            f"manifest would hold; so have {len(named):,} of {len(table):,} images. Rename files "
            "and folders, or give --keep-paths if the manifest is as safe as they are."
        )


def _words(request: Request) -> dict[str, float]:
    """Return what each word of a label means, in lower case."""
    words = dict(_WORDS)
    for meaning in _VALUES:
        for word in (given.strip().lower() for given in request.texts(meaning)):
            if word and words.get(word, meaning) != meaning:
                raise UserError(f"--{meaning}: '{word}' means {words[word]} already.")
            words[word] = meaning
    return {word: _VALUES[meaning] for word, meaning in words.items()}


def _labels(rows: pd.DataFrame, finding: str, words: dict[str, float]) -> "pd.Series[float]":
    cells = rows[finding].str.lower()
    unknown = ~cells.isin(list(words)).to_numpy()
    if unknown.any():
        raise UserError(
            f"{where_of(rows)(int(unknown.argmax()))}: '{finding}' has a word that is no label. "
            f"Known: {', '.join(word for word in words if word)}, empty. Add words with "
            "--positive, --negative, --uncertain, --unlabelled, or leave the column out with "
            "--ignore."
        )
    return cells.map(words).astype(np.float32)


def _column(name: str, default: str = "") -> Option:
    otherwise = "" if default else f" By default '{name}', if there is one."
    return Option(f"--{name}-column", f"The column of the {name}.{otherwise}", default)


def _word(name: str, value: str) -> Option:
    return Option(f"--{name}", f"A word that means {name}, beside {value}; repeatable.", ())


READER = Reader(
    title="A table of your own, such as a spreadsheet saved as CSV: one row an image. Patients' "
    "ids are replaced by salted hashes.",
    files=(Wanted("--table", "The table: UTF-8 or Latin-1; comma, semicolon or tab."),),
    read=read,
    example="--table findings.csv --images xrays/ --image-column File --patient-column PID "
    "--positive ja --negative nein -o hospital.csv",
    options=(
        _column("image", "image"),
        _column("patient", "patient"),
        *(_column(name) for name in ("split", "site", "view", "date")),
        Option("--finding", "A column that is a finding; repeatable. Default: all others.", ()),
        Option("--ignore", "A column that is no finding; repeatable.", ()),
        _word("positive", "1"),
        _word("negative", "0"),
        _word("uncertain", "-1"),
        _word("unlabelled", "an empty cell"),
        Option("--separator", "Between cells.", "auto", ("auto", *SEPARATORS)),
        Option("--encoding", "Of the file.", "auto", ("auto", "utf-8", "latin-1")),
        Option("--keep-patient-ids", "Keep patients' ids as they are, in place of hashes.", False),
        Option("--keep-paths", "Allow paths that have a patient's id in them.", False),
    ),
)
