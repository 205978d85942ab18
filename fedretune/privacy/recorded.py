"""What was on the wire in a run with ``record-wire = true``: every message, as it was serialized.

Each message is two files of the run folder's ``wire/``: ``.msg``, the bytes of its content as they
travelled, and ``.safetensors``, the same arrays under ``record/name`` with its scalars as JSON, for
those who do not read Flower's format.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

from safetensors import safe_open
from safetensors.numpy import save_file

from fedretune.errors import UserError
from fedretune.wire import ArrayRecords, ScalarRecords

#: The folder in a run's folder.
WIRE = "wire"
Direction = Literal["up", "down"]


@dataclass(frozen=True)
class RecordedMessage:
    """One message.

    Parameters
    ----------
    number : int
        Of the exchange that it belongs to, from 0.
    experience, round : int
        -1 where it is about none.
    kind : str
        ``query``, ``train``, ``evaluate.coarse``, ``evaluate.histograms``.
    site : str
        The handshake's are a node's: ``node 7``.
    direction : str
        ``up`` from the site, ``down`` to it.
    path : Path
        The ``.msg`` file.
    """

    number: int
    experience: int
    round: int
    kind: str
    site: str
    direction: str
    path: Path

    @property
    def size(self) -> int:
        """How many bytes travelled."""
        return self.path.stat().st_size

    def content(self) -> bytes:
        """Return the bytes that travelled."""
        return self.path.read_bytes()

    def arrays(self) -> dict[str, dict[str, Any]]:
        """Return the arrays by record and name."""
        found: dict[str, dict[str, Any]] = {}
        with safe_open(self.path.with_suffix(".safetensors"), "numpy") as file:
            names = file.keys()
            for key in names:
                record, _, name = key.partition("/")
                found.setdefault(record, {})[name] = file.get_tensor(key)
        return found

    def scalars(self) -> dict[str, dict[str, Any]]:
        """Return the scalars by record and name."""
        with safe_open(self.path.with_suffix(".safetensors"), "numpy") as file:
            found: dict[str, dict[str, Any]] = json.loads((file.metadata() or {})["scalars"])
        return found


def write_message(
    run: Path,
    message: RecordedMessage,
    content: bytes,
    arrays: ArrayRecords,
    scalars: ScalarRecords,
) -> None:
    """Write a message's two files into a run's folder. Raises `OSError`."""
    path = run / WIRE / _name(message)
    path.parent.mkdir(exist_ok=True)
    flat = {
        f"{record}/{name}": each for record, held in arrays.items() for name, each in held.items()
    }
    save_file(flat, path.with_suffix(".safetensors"), {"scalars": json.dumps(_plain(scalars))})
    path.write_bytes(content)


def recorded(run: Path) -> list[RecordedMessage]:
    """Return every message of a run, in the order of the exchanges.

    Raises
    ------
    UserError
        The run recorded none.
    """
    found = [_message(path) for path in (run / WIRE).glob("*.msg")]
    if not found:
        raise UserError(
            f"The run {run} recorded no message: run it again with --set record-wire=true."
        )
    return sorted(found, key=lambda each: (each.number, each.site, each.direction))


def _name(message: RecordedMessage) -> str:
    where = f"{message.number:06}_{message.experience + 1:04}_{message.round + 1:05}"
    return f"{where}_{message.kind}_{quote(message.site, safe=' ')}_{message.direction}.msg"


def _message(path: Path) -> RecordedMessage:
    number, experience, round_, kind, rest = path.stem.split("_", 4)
    site, _, direction = rest.rpartition("_")
    where = int(number), int(experience) - 1, int(round_) - 1
    return RecordedMessage(*where, kind, unquote(site), direction, path)


def _plain(scalars: ScalarRecords) -> Mapping[str, Mapping[str, Any]]:
    return {record: dict(values) for record, values in scalars.items()}
