"""The study's three data sets: their findings, their sizes, and how their folders are laid out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedretune.data.readers import Value
from fedretune.errors import UserError, one_of
from fedretune.findings import CHEXPERT5, NIH14

#: Per cent of the training images whose labels are used.
RATIOS = (1, 10, 100)
_SHOWN = 6


@dataclass(frozen=True)
class DataSet:
    """One data set as the study uses it.

    Parameters
    ----------
    name : str
        That of its reader, `fedretune.data.readers`.
    title : str
    findings : tuple[str, ...]
        Those that are trained and tested, in the order of the study's lists.
    sizes : tuple[int, int, int]
        Images for training, validation and testing, of the official tables.
    files : Mapping[str, tuple[str, ...]]
        The official tables: the reader's key to the names (globs) that one may have.
    whole : callable (float) -> int (default: round)
        What makes a whole number of a share of the training images, as the study's lists have it.
    options : Mapping (default: {})
        Of the reader.
    uncertain : str | Mapping[str, str] (default: "zeros")
        What -1 becomes; see `Manifest.labels`.
    """

    name: str
    title: str
    findings: tuple[str, ...]
    sizes: tuple[int, int, int]
    files: Mapping[str, tuple[str, ...]]
    whole: Callable[[float], int] = round
    options: Mapping[str, Value] = field(default_factory=dict)
    uncertain: str | Mapping[str, str] = "zeros"

    def count(self, images: int, ratio: int) -> int:
        """Return how many of so many training images a ratio takes; 1 or more.

        Of the official tables: 785 and 7,847 (NIH), 2,234 and 22,341 (CheXpert), 251 and 2,518
        (RSNA), as the study's lists have.
        """
        return images if ratio == 100 else max(1, self.whole(images * ratio / 100))

    def tables(self, folder: Path) -> dict[str, Path]:
        """Return the official tables that lie in a folder, by the reader's keys.

        Raises
        ------
        UserError
            One is not there; says what the folder has instead.
        """
        if not folder.is_dir():
            raise UserError(
                f"There is no folder {folder}: {self.title} is looked for there. "
                "docs/lora-study.md says what lies where."
            )
        found = {}
        for key, names in self.files.items():
            there = [path for name in names for path in sorted(folder.glob(name))]
            if not there:
                raise UserError(
                    f"{folder} is not laid out as {self.title}: it lacks {' or '.join(names)}, and "
                    f"the study's own lists (train_list.txt and others). It has {_inside(folder)}."
                )
            found[key] = there[0]
        return found


DATA_SETS = {
    each.name: each
    for each in (
        DataSet(
            "nih14",
            "NIH ChestX-ray14",
            NIH14,
            (78_468, 11_219, 22_433),
            {"labels": ("Data_Entry_2017*.csv",)},
        ),
        DataSet(
            "chexpert",
            "CheXpert",
            CHEXPERT5,
            (223_414, 234, 668),
            {
                "train": ("train.csv", "*/train.csv"),
                "valid": ("valid.csv", "*/valid.csv"),
                "test": ("test_labels.csv", "test.csv", "*/test_labels.csv", "*/test.csv"),
            },
            # The study's lists have 1 and 0 alone: what is not mentioned is absent.
            options={"views": "all", "blank": "negative"},
            uncertain={"Atelectasis": "ones", "Edema": "ones", "Pleural Effusion": "ones"},
        ),
        DataSet(
            "rsna",
            "the RSNA Pneumonia Detection Challenge",
            ("Pneumonia",),
            (25_184, 1_500, 3_000),
            {
                "labels": ("stage_2_train_labels.csv",),
                "test-labels": ("stage_2_test_labels.csv",),
            },
            whole=math.floor,
        ),
    )
}


def data_set(name: str) -> DataSet:
    """Return a data set by its name. Raises `UserError`."""
    return DATA_SETS[one_of("data set of the LoRA study", name, DATA_SETS)]


def ratios_in(text: str) -> tuple[int, ...]:
    """Return the ratios in a list with commas, each once. Raises `UserError`."""
    names = [part.strip().removesuffix("%") for part in text.split(",")]
    for name in names:
        if name not in map(str, RATIOS):
            raise UserError(f"--ratios is '{text}'; the study has 1, 10 and 100 (per cent).")
    return tuple(dict.fromkeys(map(int, names)))


def _inside(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "nothing in it"
