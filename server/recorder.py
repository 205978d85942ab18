"""Keeps every message of a run, for those who want to see what was on the wire."""

from pathlib import Path

from flwr.app import RecordDict
from flwr.common.serde import recorddict_to_proto

from fedretune import wire
from fedretune.privacy.recorded import WIRE, RecordedMessage, recorded, write_message


class Recorder:
    """Writes each message's bytes into the run's folder; a resumed run's go behind those before."""

    def __init__(self, run: Path) -> None:
        self._run = run
        before = recorded(run) if any((run / WIRE).glob("*.msg")) else []
        self._number = before[-1].number if before else -1

    def begin(self) -> None:
        """Begin another exchange."""
        self._number += 1

    def note(
        self,
        site: str,
        experience: int,
        round_: int,
        kind: str,
        direction: str,
        content: RecordDict,
    ) -> None:
        """Write one message. What cannot be taken apart is kept as it came, without its arrays."""
        where = (self._number, experience, round_)
        message = RecordedMessage(*where, kind, site, direction, self._run)
        try:
            arrays, scalars = wire.take_apart(content)
        except wire.WireError:
            arrays, scalars = {}, {}
        serialized = bytes(recorddict_to_proto(content).SerializeToString(deterministic=True))
        write_message(self._run, message, serialized, arrays, scalars)
