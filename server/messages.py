"""What the server sends: arrays, and what they are about."""

from collections.abc import Callable, Mapping

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedretune import wire
from fedretune.compression.chain import BASE, Held
from server.down import Down
from server.models import GLOBAL, Models


def content_of(
    arrays: Mapping[str, Mapping[str, wire.Array]],
    experience: int,
    round_: int,
    run: str,
    base: Mapping[str, wire.Value] | None = None,
) -> Callable[[], RecordDict]:
    """Return a maker of messages' contents: the arrays' bytes are the same in all of them.

    The bytes cannot be changed. What could be, a record, is each message's own. `base` says what
    updates among the arrays are of.
    """
    packed = {record: Array(*wire.pack(values)) for record, values in arrays.items()}
    return lambda: RecordDict(
        {
            **{record: ArrayRecord({wire.PACKED: array}) for record, array in packed.items()},
            "position": ConfigRecord({"experience": experience, "round": round_, "run": run}),
            **({BASE: ConfigRecord(dict(base))} if base else {}),
        }
    )


def contents(
    models: Models | None,
    more: Mapping[str, Mapping[str, wire.Array]],
    position: tuple[int, int],
    run: str,
    down: Down | None = None,
) -> Callable[[str], RecordDict]:
    """Return a maker of a message's content for a site: its adaptor, and `more` arrays for all.

    The global adaptor is encoded once for all, and its updates once for all that hold the same;
    without `models` none is sent.
    """

    def maker(
        sent: Mapping[str, Mapping[str, wire.Array]], base: Mapping[str, wire.Value] | None = None
    ) -> Callable[[], RecordDict]:
        return content_of({**more, **sent}, *position, run, base)

    if models is None:
        for_all = maker({})
        return lambda site: for_all()
    makers: dict[Held | None, Callable[[], RecordDict]] = {}

    def content(site: str) -> RecordDict:
        if site in models:
            return maker({"adaptor": models[site]})()
        held = down.followed_from(models, site) if down else None
        if held not in makers:
            if down and held:
                parcel = down.parcel(models, held)
                makers[held] = maker(parcel.arrays, parcel.told)
            else:
                makers[held] = maker({"adaptor": models[GLOBAL]})
        return makers[held]()

    return content
