"""Readers: from a data set's own files to a manifest.

Adding one is one file with a `Reader`, and one line below; it then has a command,
``fedretune manifest NAME``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fedretune.registry import Registry

if TYPE_CHECKING:  # the command line lists readers and must not wait for pandas
    import pandas as pd

#: Name: where the `Reader` is, and what it reads. A `Reader`'s file may import what it likes.
_KNOWN = {
    "chexpert": ("chexpert", "CheXpert: train.csv, valid.csv, a test list where you have one"),
    "nih14": ("nih14", "NIH ChestX-ray14: Data_Entry_2017.csv and its PNG images"),
    "mimic-cxr": ("mimic_cxr", "MIMIC-CXR-JPG: split, metadata, chexpert or negbio labels"),
    "padchest": ("padchest", "PadChest: its table of label lists"),
    "rsna": ("rsna", "RSNA Pneumonia Detection Challenge: stage 2 labels and DICOM images"),
    "vindr": ("vindr", "VinDr-CXR: image labels of the radiologists and DICOM images"),
    "dicom": ("dicom_folder", "A folder of DICOM files, and perhaps a table of labels"),
    "csv": ("own_table", "A table of your own: name its columns and its words"),
}
READERS = Registry(
    "reader",
    {name: f"fedretune.data.readers.{file}:READER" for name, (file, _) in _KNOWN.items()},
)
TITLES = {name: title for name, (_, title) in _KNOWN.items()}

#: The value of an `Option`; its default says which.
Value = str | bool | tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """A file or folder that the command line names.

    Parameters
    ----------
    option : str
        Such as ``--labels``; without dashes, such as ``FOLDER``, it is an argument.
    help : str
        What it is, by its official name, and where it comes from.
    required : bool (default: True)
    """

    option: str
    help: str
    required: bool = True

    @property
    def key(self) -> str:
        """Its name in `Request.files`: ``labels`` of ``--labels``."""
        return self.option.strip("-").lower()


@dataclass(frozen=True)
class Option:
    """Another option of a reader's command.

    Parameters
    ----------
    option : str
        Such as ``--views``.
    help : str
    default : str | bool | tuple[str, ...] (default: "")
        Its type is the option's: a text, a switch, or a text that may be given several times.
    allowed : tuple[str, ...] (default: ())
        The values that a text may have; any where there are none.
    """

    option: str
    help: str
    default: Value = ""
    allowed: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its name in `Request.options`: ``views`` of ``--views``."""
        return self.option.strip("-")


@dataclass(frozen=True)
class Request:
    """What a reader is given.

    Parameters
    ----------
    images : Path
        The images' root, a folder that is there.
    files : Mapping[str, Path]
        By `Wanted.key`: those that were named, each a file or folder that is there.
    options : Mapping[str, str | bool | tuple[str, ...]]
        By `Option.key`: all of the reader's, its default where not given.
    folder : Path
        Where the manifest goes, and the salt of patients' ids lies (`fedretune.data.patients`).
    follow_links : bool (default: False)
        Whether links may lead out of the images' root.
    """

    images: Path
    files: Mapping[str, Path]
    options: Mapping[str, Value]
    folder: Path
    follow_links: bool = False

    def text(self, key: str) -> str:
        """Return the value of an option that is a text."""
        return str(self.options[key])

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the values of an option that may be given several times."""
        values = self.options[key]
        return values if isinstance(values, tuple) else ()


@dataclass(frozen=True, eq=False)
class Reading:
    """What a data set's own files say.

    Parameters
    ----------
    table : pandas.DataFrame
        One row an image. Columns: `image`, a path relative to the images' root, or a bare name
        where the data set scatters its images over folders; `patient`; where the data set says
        them `split` (empty where it leaves a row open), `site`, `view`, `date`; then the
        findings as 1, 0, -1 (uncertain) or NaN (not labelled). The index has two levels, the
        file and the line that each row stands on (line 0: the file itself), and may repeat.
    dropped : Mapping[str, int] (default: {})
        How many images were left out, by reason.
    unmapped : Mapping[str, int] (default: {})
        Words of the data set's own that stand for none of the findings, and how often each is.
    """

    table: "pd.DataFrame"
    dropped: Mapping[str, int] = field(default_factory=dict)
    unmapped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """How to read one data set.

    Parameters
    ----------
    title : str
        The data set, and where it is published.
    files : tuple[Wanted, ...]
        The files it wants, beside the images.
    read : Callable[[Request], Reading]
        Raises `UserError` naming the file, the line and the mend.
    example : str
        The files' part of a command line.
    options : tuple[Option, ...] (default: ())
    images : Wanted (default: ``--images``, a folder)
        The images' root.
    """

    title: str
    files: tuple[Wanted, ...]
    read: Callable[[Request], Reading]
    example: str
    options: tuple[Option, ...] = ()
    images: Wanted = Wanted("--images", "The folder that its images are in.")
