"""CheXpert (Irvin et al., AAAI 2019): the official ``train.csv`` and ``valid.csv``.

One row an image. ``Path`` is ``CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg``
or alike; it is read from ``train/``, ``valid/`` or ``test/`` on, so that the folder before may
have any name. Labels are 1, 0, -1 (uncertain) and empty (not mentioned, so not labelled). ``No
Finding`` is no finding: where it is 1, the empty ones of the others are 0. ``Support Devices`` is
kept, as it is seen in the image.

The official validation set is `val`. Patients of ``train.csv`` are `train` where a test list is
given, and are cut into `train` and `test` otherwise; without ``valid.csv`` into `val` too.
"""

from pathlib import Path

import pandas as pd

from fedretune.data.readers import Reader, Reading, Request, Wanted
from fedretune.data.readers.columns import BLANK, NO_FINDING, VIEWS, chexpert_labels, of_views
from fedretune.data.tables import read_rows, where_of
from fedretune.errors import UserError
from fedretune.findings import CHEXPERT13

_PATH = (
    r"(?:^|/)(?P<image>(?:train|valid|test)/(?P<patient>patient\d+)"
    r"/study\d+/view\d+_(?P<side>frontal|lateral)\.\w+)$"
)


def read(request: Request) -> Reading:
    """Read CheXpert's own tables; see `fedretune.data.readers.Reader`."""
    open_splits = "" if "test" not in request.files or "valid" not in request.files else "train"
    splits = {"train": open_splits, "valid": "val", "test": "test"}
    parts = [
        _rows(request.files[name], split, request.text("blank"))
        for name, split in splits.items()
        if name in request.files
    ]
    table, dropped = of_views(pd.concat(parts), request.text("views"))
    return Reading(table, dropped)


def _rows(path: Path, split: str, blank: str) -> pd.DataFrame:
    rows = read_rows(path, ("Path", *CHEXPERT13), ("AP/PA", NO_FINDING))
    parts = rows["Path"].str.extract(_PATH)
    unlike = parts["image"].isna().to_numpy()
    if unlike.any():
        raise UserError(
            f"{where_of(rows)(int(unlike.argmax()))}: 'Path' is not like "
            "CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg."
        )
    # The test list has no column AP/PA; a few frontal images have 'LL' or 'RL' in it.
    beam = rows["AP/PA"] if "AP/PA" in rows else parts["side"]
    view = beam.where(beam.isin(["AP", "PA"]) & (parts["side"] == "frontal"), parts["side"])
    table = parts[["image", "patient"]].assign(split=split, view=view)
    return pd.concat([table, chexpert_labels(rows, blank)], axis=1)


READER = Reader(
    title="CheXpert (Stanford; aimi.stanford.edu/datasets/chexpert-chest-x-rays)",
    files=(
        Wanted("--train", "train.csv."),
        Wanted("--valid", "valid.csv, the official validation set.", required=False),
        Wanted("--test", "The test set's labels: columns Path and findings.", required=False),
    ),
    read=read,
    example="--train train.csv --valid valid.csv --images CheXpert-v1.0-small/ -o chexpert.csv",
    options=(VIEWS, BLANK),
    images=Wanted("--images", "The folder that holds train/ and valid/, whatever its name."),
)
