"""What the server sends: arrays, and what they are about."""

from collections.abc import Callable, Mapping

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedretune import wire
from server.models import GLOBAL, Models


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


def contents(
    models: Models | None,
    more: Mapping[str, Mapping[str, wire.Array]],
    position: tuple[int, int],
    run: str,
) -> Callable[[str], RecordDict]:
    """Return a maker of a message's content for a site: its adaptor, and `more` arrays for all.

    The global adaptor is encoded once for all; without `models` none is sent.
    """

    def maker(sent: Mapping[str, Mapping[str, wire.Array]]) -> Callable[[], RecordDict]:
        return content_of(sent, *position, run)

    if models is None:
        for_all = maker(more)
        return lambda site: for_all()
    for_all = maker({**more, "adaptor": models[GLOBAL]})
    return lambda site: (maker({**more, "adaptor": models[site]}) if site in models else for_all)()
