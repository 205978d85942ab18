"""The sites that were admitted, by name and key: who says so is who it says it is."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from fedretune.handshake import CHALLENGE, DIGITS, PURPOSE, SIGNATURE, Asked
from fedretune.identity import is_signed, read_keys
from fedretune.wire import ScalarRecords


@dataclass(frozen=True)
class Admitted:
    """The list of a `run`, in a file at `path`. Read at each handshake, so that sites may join."""

    path: Path
    run: str

    @classmethod
    def of(cls, path: str, run: str) -> "Admitted | None":
        """Return the list of a run's config; None where it has none, and names are believed."""
        return cls(Path(path), run) if path else None

    def ask(self, nodes: Iterable[int]) -> "Question":
        """Return a new question for nodes, with a number for each that was never used before."""
        numbers = {node: os.urandom(DIGITS // 2).hex() for node in nodes}
        return Question(self, numbers)


@dataclass(frozen=True)
class Question:
    """One handshake with nodes, each of which signs a number of its own."""

    admitted: Admitted
    numbers: dict[int, str]

    def content(self, node: int) -> RecordDict:
        """Return what a node is sent."""
        return RecordDict({CHALLENGE: ConfigRecord({"number": self.numbers[node]})})

    def objection(self, node: int, answer: ScalarRecords) -> str:
        """Say why a node that answers so is not who it says; empty if it is.

        Raises `UserError` if the list cannot be read.
        """
        name = str(answer["site"]["name"])
        key = read_keys(self.admitted.path).get(name)
        if key is None:
            return f"'{name[:100]}' is on no line of the list of admitted sites"
        if SIGNATURE not in answer:
            return f"it does not sign that it is '{name}'"
        asked = Asked(self.admitted.run, node, self.numbers[node])
        signature = str(answer[SIGNATURE]["ecdsa"])
        if not is_signed(key, signature, PURPOSE, asked.signed(answer)):
            return f"it does not sign with the key that was admitted as '{name}'"
        return ""
