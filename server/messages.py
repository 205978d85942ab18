"""What the server sends: arrays, and what they are about."""

from collections.abc import Callable, Mapping

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedretune import wire


def content_of(
    arrays: Mapping[str, Mapping[str, wire.Array]], experience: int, round_: int, run: str
) -> Callable[[], RecordDict]:
    """Return a maker of messages' contents: the arrays' bytes are the same in all of them.

    The bytes cannot be changed. What could be, a record, is each message's own.
    """
    packed = {record: Array(*wire.pack(values)) for record, values in arrays.items()}
    return lambda: RecordDict(
        {
            **{record: ArrayRecord({wire.PACKED: array}) for record, array in packed.items()},
            "position": ConfigRecord({"experience": experience, "round": round_, "run": run}),
        }
    )
