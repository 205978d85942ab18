"""The global adaptor as a site comes to it: whole, or by updates of one that it holds."""

from collections.abc import Mapping

from flwr.app import ConfigRecord, Message

from clients.memory import SiteMemory
from clients.site import Site
from fedretune.compression import UnsoundError
from fedretune.compression.chain import (
    BASE,
    FIRST,
    OTHER_BASE,
    UPDATE,
    Held,
    fingerprint,
    first_adaptor,
    follow,
)
from fedretune.errors import UserError
from fedretune.wire import Array, ArrayRecords

#: Of what a site remembers, the adaptors that its rounds began with.
HELD = "held"


def received(site: Site, message: Message, sent: ArrayRecords, memory: SiteMemory) -> ArrayRecords:
    """Return what was `sent`, with the global adaptor in the place of updates of an earlier one.

    Raises
    ------
    UserError
        The site does not hold what they are of, or they are no updates; nothing may be computed.
    """
    told = message.content.config_records.get(BASE)
    if told is None:
        return sent
    base, wanted = _base(site, told, memory), str(told["result"])
    updates = {name: arrays for name, arrays in sent.items() if name.startswith(UPDATE)}
    others = {name: arrays for name, arrays in sent.items() if name not in updates}
    compression = site.world.config.compression_down_of(site.world.adaptor)
    ordered = [updates.get(f"{UPDATE}{each + 1}", {}) for each in range(len(updates))]
    try:
        if compression is None:
            raise UnsoundError("the run's compression-down is none")
        return {**others, "adaptor": follow(compression, base, ordered, wanted)}
    except UnsoundError as error:
        raise UserError(
            f"The server's updates of the global adaptor cannot be followed: {error}.",
            public=f"refused; the server's update is unsound: {error}",
        ) from error


def hold(site: Site, sent: ArrayRecords, where: Held, memory: SiteMemory) -> None:
    """Keep the adaptor that a round begins with, where later ones may come as updates of it."""
    if site.world.config.compression_down_of(site.world.adaptor) is not None:
        memory.leave(HELD, *where, dict(sent["adaptor"]))


def _base(site: Site, told: ConfigRecord, memory: SiteMemory) -> Mapping[str, Array]:
    held = (int(str(told["experience"])), int(str(told["round"])))
    if held == FIRST:
        base = first_adaptor(site.world.adaptor, site.world.config.seed)
    else:
        base = memory.at(HELD, *held)
    if not base or fingerprint(base) != told["adaptor"]:
        raise UserError(
            f"{site.name} {OTHER_BASE}, the one of experience {held[0]}, round {held[1]}.",
            public=OTHER_BASE,
        )
    return base
