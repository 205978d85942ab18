"""NIH ChestX-ray14 (Wang et al., CVPR 2017): the official ``Data_Entry_2017*.csv``.

One row an image; ``Finding Labels`` is ``No Finding`` or names joined by ``|``.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fedretune.data.readers import Reading
from fedretune.errors import UserError
from fedretune.findings import NIH14

_IMAGE, _LABELS, _PATIENT, _VIEW = "Image Index", "Finding Labels", "Patient ID", "View Position"
_NOTHING = "No Finding"


def read(labels: Path) -> Reading:
    """Read NIH's own table; see `fedretune.data.readers.Reader`."""
    rows = _rows(labels)
    positive = np.zeros((len(rows), len(NIH14)), dtype=np.int8)
    column = {finding: position for position, finding in enumerate(NIH14)}
    for row, cell in enumerate(rows[_LABELS]):
        for name in _findings(cell):
            if name not in column:
                raise UserError(
                    f"{labels}, line {row + 2}: '{name}' is no finding of NIH ChestX-ray14. "
                    f"Allowed: '{_NOTHING}', or of these, joined by '|': {', '.join(NIH14)}."
                )
            positive[row, column[name]] = 1
    table = pd.DataFrame({"image": rows[_IMAGE], "patient": rows[_PATIENT]})
    if _VIEW in rows:
        table["view"] = rows[_VIEW]
    table[list(NIH14)] = positive
    return Reading(table, list(range(2, len(rows) + 2)))


def _findings(cell: str) -> list[str]:
    names = [name.strip().replace("_", " ") for name in cell.split("|")]
    return [] if names == [_NOTHING] else names


def _rows(labels: Path) -> pd.DataFrame:
    try:
        # index_col: the official file's rows may end in a comma that its header lacks.
        rows = pd.read_csv(
            labels, dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False
        )
    except OSError as error:
        raise UserError(f"Cannot read the labels {labels}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"Cannot read the labels {labels} as a table: {error}.") from error
    for name in (_IMAGE, _LABELS, _PATIENT):
        if name not in rows:
            raise UserError(
                f"{labels} lacks the column '{name}': it is not NIH's table (columns '{_IMAGE}', "
                f"'{_LABELS}', '{_PATIENT}', and more)."
            )
    return rows
