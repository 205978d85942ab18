"""Secure sums on the server's disk until a checkpoint has what follows from them.

Sites unmask one sum in each place of a run, so that a server that was killed between a sum and its
checkpoint could not have it again if one of its sites has gone since. The sum tells nothing that
the server did not know.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedretune.paths import writing
from fedretune.privacy.secure.about import About
from fedretune.privacy.secure.fixed import Numbers
from fedretune.wire import ScalarRecords

#: How many are kept: a resumed run may repeat as many steps as there are checkpoints, of two sums.
KEPT = 8


@dataclass(frozen=True)
class Sum:
    """What came of a secure sum.

    Parameters
    ----------
    total : int64 array [n]
    told : mapping of site to scalars
        Whose vectors it is the sum of, in the order of their names, and what each told beside it.
    """

    total: Numbers
    told: Mapping[str, ScalarRecords]


@dataclass(frozen=True)
class KeptSums:
    """The last sums of a run, in `folder`."""

    folder: Path

    def find(self, about: About) -> Sum | None:
        """Return the sum of a place in the run; None if there is none, or none that is whole."""
        try:
            with safe_open(self._path(about), "numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("about") != about.text:
                    return None
                return Sum(file.get_tensor("total"), json.loads(metadata["told"]))
        except (OSError, SafetensorError, ValueError, LookupError):
            return None

    def keep(self, about: About, found: Sum) -> None:
        """Keep a sum, and forget those that are long past. Raises `OSError`."""
        metadata = {"about": about.text, "told": json.dumps(dict(found.told))}
        with writing(self._path(about)) as file:
            file.write(save({"total": found.total}, metadata))
        for old in sorted(self.folder.glob("*.safetensors"), key=_written)[:-KEPT]:
            old.unlink()

    def drop(self) -> None:
        """Forget all: the run is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, about: About) -> Path:
        where = f"{about.experience + 1:04}-{about.round + 1:05}"
        return self.folder / f"{where}-{about.model}-{about.kind}.safetensors"


def _written(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name
