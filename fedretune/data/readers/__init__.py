"""Readers: from a public data set's own files to a manifest.

Adding one is one file with a function that returns a `Reading`, and one line in `READERS`; it
then has a command, ``fedretune manifest NAME``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedretune.registry import Registry

if TYPE_CHECKING:  # the command line lists readers and must not wait for pandas
    import pandas as pd

#: Each a `Reader`.
READERS = Registry("reader", {"nih14": "fedretune.data.readers.nih14:read"})


@dataclass(frozen=True, eq=False)
class Reading:
    """What a data set's own files say.

    Parameters
    ----------
    table : pandas.DataFrame
        One row an image: `image` (a file name or relative path, as the data set has it),
        `patient`, perhaps `view` and `date`, then the findings as 1, 0, -1 or NaN.
    lines : list[int]
        The line of the labels' file that each row stands on.
    """

    table: "pd.DataFrame"
    lines: list[int]


#: From the file of labels to what it says. Raises `UserError` naming the file and the line.
Reader = Callable[[Path], Reading]
