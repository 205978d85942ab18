"""The half of an audit that knows Flower: whether a recorded reply holds what may leave, only.

Two checks that need nothing but the site's own config and backbone: the reply has exactly what the
guard's schema lists; and its bytes are those that the listed values alone make, so that there is
nothing between or behind them.
"""

from flwr.app import RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as Serialized

from clients.guard import content_of, schema_of
from clients.secure import STEPS, schema_among
from clients.world import World
from fedretune import wire
from fedretune.privacy.secure.threshold import FEWEST


def objection(world: World, kind: str, answered: bytes) -> str:
    """Return what is wrong with a reply; nothing if it is as it must be.

    Parameters
    ----------
    world : World
        Of the run that it was sent in.
    kind : str
        The message's type.
    answered : bytes
        The content of the reply, as it travelled.
    """
    try:
        content = _content(answered)
        arrays, scalars = wire.take_apart(content)
        _check(world, kind, arrays, scalars)
    except wire.WireError as error:
        return str(error)
    except Exception as error:  # whatever bytes make a reader raise, they are no reply
        return f"it cannot be read ({type(error).__name__})"
    made = _bytes(content_of(arrays, scalars))
    if made != answered:
        return f"its {len(answered)} bytes are not the {len(made)} that its values make"
    return ""


def _check(
    world: World,
    kind: str,
    arrays: wire.ArrayRecords,
    scalars: wire.ScalarRecords,
) -> None:
    """Raise `WireError` unless a reply is one of those that may leave."""
    reasons = []
    for schema in (wire.REFUSAL, *_schemas(world, kind)):
        try:
            wire.check(schema, arrays, scalars)
            return
        except wire.WireError as error:
            reasons.append(str(error))
    raise wire.WireError(reasons[-1] if len(reasons) > 1 else f"no reply to '{kind}' may leave")


def _schemas(world: World, kind: str) -> list[wire.Schema]:
    """Return what a reply may hold; in a secure sum, of whatever number of sites."""
    if not world.config.secure_aggregation or kind == "query":
        return [schema_of(kind, world)]
    if kind in STEPS:
        return [STEPS[kind]]
    peers = range(FEWEST, len(world.scenario.sites) + 1)
    return [schema_among(world, kind, count) for count in peers]


def _content(data: bytes) -> RecordDict:
    return recorddict_from_proto(Serialized.FromString(data))


def _bytes(content: RecordDict) -> bytes:
    return bytes(recorddict_to_proto(content).SerializeToString(deterministic=True))
