"""What the tables of several data sets have in common: views, dates, CheXpert's labels."""

from collections.abc import Mapping, Sequence

import pandas as pd

from fedretune.data.readers import Option
from fedretune.data.tables import where_of
from fedretune.data.validation import parse_findings
from fedretune.errors import UserError
from fedretune.findings import CHEXPERT13

NO_FINDING = "No Finding"

VIEWS = Option(
    "--views", "Which images to take, by their view.", "all", ("frontal", "lateral", "all")
)

BLANK = Option(
    "--blank",
    "What an empty label means: the labeller met no mention of the finding. Published results "
    "mostly count it as negative.",
    "unlabelled",
    ("unlabelled", "negative"),
)

#: Beginnings of frontal views, and lateral views, as the data sets write them.
_OF_VIEWS = {
    "frontal": r"(?i)^(?:AP|PA|frontal)(?![A-Za-z])",
    "lateral": r"(?i)^(?:LL|RL|L|(?:XTABLE )?LATERAL)$",
}


def of_views(table: pd.DataFrame, views: str) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """Return the rows whose `view` is wanted, and how many were dropped, by reason."""
    if views == "all":
        return table, {}
    wanted = table["view"].str.contains(_OF_VIEWS[views], regex=True)
    if not wanted.any():
        raise UserError(f"No image has a {views} view; look at --views.")
    others = int((~wanted).sum())
    return table[wanted], {f"not a {views} view": others} if others else {}


def iso_dates(column: "pd.Series[str]") -> "pd.Series[str]":
    """Return ``20101231`` as ``2010-12-31``, and anything else as no date."""
    parts = column.str.extract(r"^(\d{4})(\d{2})(\d{2})(?:\.0)?$")
    return (parts[0] + "-" + parts[1] + "-" + parts[2]).fillna("")


def chexpert_labels(rows: pd.DataFrame, blank: str) -> pd.DataFrame:
    """Return the `CHEXPERT13` labels of a table: 1, 0, -1, and `blank` where empty.

    ``No Finding`` is 1 where the labeller met no other finding as present or uncertain, devices
    aside: what is empty there is absent.

    Raises
    ------
    UserError
        A cell is another value; names the line and the column.
    """
    labels = parse_findings(rows[list(CHEXPERT13)], where_of(rows))
    if blank == "negative":
        return labels.fillna(0.0)
    if NO_FINDING in rows:
        normal = parse_findings(rows[[NO_FINDING]], where_of(rows))[NO_FINDING] == 1
        others = [name for name in CHEXPERT13 if name != "Support Devices"]
        labels.loc[normal, others] = labels.loc[normal, others].fillna(0.0)
    return labels


def key_of(rows: pd.DataFrame, columns: Sequence[str]) -> "pd.Index[str]":
    """Return the columns joined into one key a row."""
    cells = (rows[name].tolist() for name in columns)
    return pd.Index(["/".join(parts) for parts in zip(*cells, strict=True)])


def unique_key_of(rows: pd.DataFrame, columns: Sequence[str]) -> "pd.Index[str]":
    """Return `key_of`. Raises `UserError` if a key is there twice."""
    key = key_of(rows, columns)
    again = key.duplicated()
    if again.any():
        raise UserError(
            f"{where_of(rows)(int(again.argmax()))}: the same {', '.join(columns)} is listed "
            "before already. Keep one of the two."
        )
    return key
