"""The manifest: one row an image, as CSV or Parquet.

Columns: `image` (a path, relative to the manifest or absolute), `patient`, `split`, perhaps
`site`, `experience`, `view` and `date`; then one column a finding, with 1 present, 0 absent,
-1 uncertain, empty not labelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.data.tables import decode, header_of, parse_rows, read_bytes, stripped, where_of
from fedretune.data.validation import REQUIRED, check_header, check_structure, parse_findings
from fedretune.errors import UserError, one_of
from fedretune.paths import writing

OPTIONAL = ("site", "experience", "view", "date")

#: What an uncertain label (-1) counts as.
UNCERTAIN = {"zeros": 0.0, "ones": 1.0, "ignore": float("nan")}


@dataclass(frozen=True, eq=False)
class Manifest:
    """A validated manifest of `n` images and `F` findings.

    Parameters
    ----------
    path : Path
        The file, absolute.
    table : pandas.DataFrame
        RangeIndex. `image`, `patient`, `split` and the optional columns as text (empty where not
        given), then the findings as float32: 1, 0, -1 or NaN.
    findings : tuple[str, ...]
        The finding columns, in the file's order.
    lines : int64 array [n]
        The 1-based line of the file that each row stands on; of a Parquet file, the row plus 1.
    """

    path: Path
    table: pd.DataFrame
    findings: tuple[str, ...]
    lines: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def images(self) -> list[Path]:
        """The absolute path of each row's image."""
        folder = self.path.parent
        return [folder / name for name in self.table["image"]]

    def labels(self, uncertain: str | Mapping[str, str] = "zeros") -> NDArray[np.float32]:
        """Return the labels, NaN where a finding is not labelled or its label is ignored.

        Parameters
        ----------
        uncertain : str | Mapping[str, str] (default: "zeros")
            What -1 becomes: one of `UNCERTAIN`, or one a finding (the others get `zeros`).

        Returns
        -------
        float32 array [n, F]
        """
        labels = self.table[list(self.findings)].to_numpy(dtype=np.float32, copy=True)
        policies = dict.fromkeys(self.findings, uncertain) if isinstance(uncertain, str) else {}
        if not isinstance(uncertain, str):
            for finding in uncertain:
                one_of("finding in the policy for uncertain labels", finding, self.findings)
            policies = {finding: uncertain.get(finding, "zeros") for finding in self.findings}
        for column, finding in enumerate(self.findings):
            policy = one_of("policy for uncertain labels", policies[finding], UNCERTAIN)
            labels[labels[:, column] == -1, column] = UNCERTAIN[policy]
        return labels

    def where(self, row: int) -> str:
        """Return "FILE, line N" for the row at this position, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def load_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest; images are not opened (see `check_images`).

    Raises
    ------
    UserError
        The file cannot be read; a column is missing; a value is not allowed; an image is listed
        twice; a patient is in two splits or two sites. The message names line, column and mend.
    """
    path = Path(path).expanduser().absolute()
    text = _read(path)
    fixed = [name for name in (*REQUIRED, *OPTIONAL) if name in text]
    findings = tuple(str(name) for name in text if name not in fixed)
    where = where_of(text)
    check_structure(path, text[fixed], findings, where)
    labels = parse_findings(text[list(findings)], where)
    lines = text.index.get_level_values("line").to_numpy(dtype=np.int64)
    table = pd.concat([text[fixed], labels], axis=1).reset_index(drop=True)
    return Manifest(path, table, findings, lines)


def check_images(manifest: Manifest) -> None:
    """Raise `UserError` if an image is not there; names the first and counts the rest."""
    gone = [row for row, image in enumerate(manifest.images) if not image.is_file()]
    if gone:
        others = f" ({len(gone):,} of {len(manifest):,} images are missing)" if gone[1:] else ""
        raise UserError(
            f"{manifest.where(gone[0])}: there is no image {manifest.images[gone[0]]}{others}. "
            "Put it there, or take its line out; a path in a manifest is relative to the manifest."
        )


def write_manifest(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as a manifest, whole or not at all. The suffix says CSV or Parquet.

    Parameters
    ----------
    table : pandas.DataFrame
        The manifest's columns; findings as 1, 0, -1 or NaN.
    path : str | Path
        Overwritten if it exists.

    Returns
    -------
    Path
        The file, absolute.
    """
    path = Path(path).expanduser().absolute()
    numbers = {name: "Int8" for name in table.columns if name not in (*REQUIRED, *OPTIONAL)}
    table = table.astype(numbers)
    try:
        with writing(path) as file:
            if path.suffix == ".parquet":
                table.to_parquet(file, index=False)
            else:
                table.to_csv(file, index=False, lineterminator="\n")
    except OSError as error:
        raise UserError(f"Cannot write the manifest {path}: {error.strerror}.") from error
    except ImportError as error:
        raise UserError(_NO_PARQUET.format(path=path)) from error
    return path


_NO_PARQUET = '{path}: Parquet needs pyarrow: pip install "fedretune[parquet]", or use CSV.'


def _read(path: Path) -> pd.DataFrame:
    """Return every cell as text ("" where empty), by file and line."""
    if not path.is_file():
        raise UserError(f"There is no manifest {path}.")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    content = decode(path, read_bytes(path), "utf-8")
    header = header_of(path, content, ",")
    check_header(path, header)
    return parse_rows(path, content, ",", header)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
        booleans = frame.select_dtypes("bool").columns
        frame = frame.astype(dict.fromkeys(booleans, "int8"))
        text = frame.astype(object).where(frame.notna(), "").astype(str)
    except ImportError as error:
        raise UserError(_NO_PARQUET.format(path=path)) from error
    except Exception as error:
        # A broken file brings pyarrow and pandas to raise nearly anything, some of it with cells.
        raise UserError(f"Cannot read the manifest {path}: it is no sound Parquet file.") from error
    check_header(path, [str(name) for name in text])
    return stripped(text, path, list(range(1, len(text) + 1)))
