"""A table of text: read in one piece, each row with the file and line it stands on."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import pandas as pd

from fedretune.data.validation import Where
from fedretune.errors import UserError

#: The largest table that is read, once unpacked: ten times the largest of a public data set.
MAX_BYTES = 2**30

#: Letters beyond ASCII, as UTF-8 has them; in Latin-1 they are pairs such as `Ã¤`, no words.
_MULTIBYTE = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")

_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


def read_rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Return columns of an official CSV file (UTF-8, commas, perhaps gzipped) as text.

    Returns
    -------
    pandas.DataFrame
        `columns` and those of `optional` that are there, stripped; "" where empty. The index has
        the levels `file` and `line`.

    Raises
    ------
    UserError
        The file cannot be read, lacks a column, or is not such a table; with line and mend.
    """
    return parse_rows(path, decode(path, read_bytes(path), "utf-8"), ",", columns, optional)


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked where its name ends in ``.gz``. Raises `UserError`."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is no sound gzip file"
        raise UserError(f"Cannot read {path}: {reason}.") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"{path} has more than {MAX_BYTES // 2**20:,} MiB: it is no such table.")
    if not content.strip():
        raise UserError(f"{path} is empty.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is UTF-16 (Excel's 'Unicode text'): save it as CSV UTF-8.")
    if (at := content.find(b"\0")) >= 0:
        raise UserError(f"{path}, line {_line(content, at)}: a NUL byte; the file is no text.")
    return content


def decode(path: Path, content: bytes, encoding: str) -> str:
    """Return text without its byte order mark.

    Parameters
    ----------
    path : Path
        For messages.
    content : bytes
    encoding : str
        ``utf-8``, ``latin-1``, or ``auto``: Latin-1 where it is not UTF-8.

    Raises
    ------
    UserError
        The line where a character is of another encoding; with ``auto``, of a file that is partly
        UTF-8.
    """
    if encoding == "latin-1":
        return content.decode("latin-1")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if encoding == "auto" and not _MULTIBYTE.search(content):
            return content.decode("latin-1")
        others = "" if encoding == "utf-8" else ", while others of the file are"
        raise UserError(
            f"{path}, line {_line(content, error.start)}: a character is not UTF-8{others}. Save "
            "the file as UTF-8."
        ) from error


def _line(content: bytes, at: int) -> int:
    return content.count(b"\n", 0, at) + 1


def parse_rows(
    path: Path, text: str, separator: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Return columns of a table of text; see `read_rows`."""
    rows = _rows(path, text, separator)
    _, header = next(rows, (1, []))
    names = [name.strip() for name in header]
    if missing := [name for name in columns if name not in names]:
        raise UserError(_lacks(path, missing[0], names, separator))
    wanted = list(dict.fromkeys([*columns, *(name for name in optional if name in names)]))
    if repeated := [name for name in wanted if names.count(name) > 1]:
        raise UserError(f"{path}: the column '{repeated[0]}' is there twice; rename or drop one.")
    return _frame(path, rows, names, wanted)


def read_lines(path: Path) -> set[str]:
    """Return the lines of a list of names, such as NIH's, stripped. Raises `UserError`."""
    text = decode(path, read_bytes(path), "utf-8")
    return {line.strip() for line in text.splitlines() if line.strip()}


def header_of(path: Path, text: str, separator: str) -> list[str]:
    """Return the names of a table's columns. Raises `UserError`."""
    _, header = next(_rows(path, text, separator), (1, []))
    return [name.strip() for name in header]


def _frame(
    path: Path, rows: Iterator[tuple[int, list[str]]], names: list[str], wanted: list[str]
) -> pd.DataFrame:
    places = [names.index(name) for name in wanted]
    pick = itemgetter(*places, places[0])  # of two or more, so that it gives a tuple
    lines, picked = [], []
    for line, row in rows:
        if len(row) != len(names):
            raise UserError(
                f"{path}, line {line}: {len(row)} cells, but the header has {len(names)}. A cell "
                "that contains a separator needs quotes."
            )
        lines.append(line)
        picked.append(pick(row))
    if not lines:
        raise UserError(f"{path} has no rows below its header.")
    cells = dict(zip(wanted, zip(*picked, strict=True), strict=False))
    return stripped(pd.DataFrame(cells, dtype=str), path, lines)


def stripped(text: pd.DataFrame, path: Path, lines: list[int]) -> pd.DataFrame:
    """Return a table of text without spaces around its cells, by file and line."""
    columns = {name: text[name].str.strip() for name in text}
    index = pd.MultiIndex.from_arrays([[str(path)] * len(lines), lines], names=("file", "line"))
    return pd.DataFrame(columns).set_index(index)


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Give each row that is not blank with the line it begins on; quotes must close."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 0
    try:
        for row in reader:
            if row:
                yield line + 1, row
            line = reader.line_num
    except csv.Error as error:
        raise UserError(
            f"{path}, line {line + 1}: not a row of cells ({error}). Look for a quote that opens "
            "and does not close."
        ) from error


def _lacks(path: Path, missing: str, names: list[str], separator: str) -> str:
    """Return what to say. The first line is not quoted: it may be a patient's, and no header."""
    message = f"{path} lacks the column '{missing}'"
    for other, word in _SEPARATORS.items():
        if other != separator and len(names) == 1 and other in names[0]:
            return f"{message}: its cells seem to be separated by {word}."
    return f"{message}: its first line has {len(names)} cells, none of which is that name."


def where_of(frame: pd.DataFrame) -> Where:
    """Return what names the file and line of each row of a table read here."""

    def where(row: int) -> str:
        file, line = frame.index[row]
        return f"{file}, line {line}" if line else f"{file}"

    return where
