"""The outermost mod of the ClientApp: nothing leaves a site but what the wire's schema lists.

Whatever a handler returns is taken apart, checked against the schema, and a fresh reply is built
from what passed. What a handler raises becomes a refusal that names no file and no patient;
the details stay in the site's own log.
"""

import logging
from collections.abc import Callable

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from clients import secure
from clients.rules import Rules, asked_of
from clients.site import Site
from clients.world import World
from fedretune import wire
from fedretune.compression import UnsoundError
from fedretune.errors import UserError
from fedretune.evaluation import BINS

Handler = Callable[[Message, Context], Message]

log = logging.getLogger("fedretune.site")


def guarded(open_site: Callable[[Context], Site]) -> Callable[[Message, Context, Handler], Message]:
    """Return a Flower mod that lets out what the schema of `open_site`'s site allows."""

    def guard(message: Message, context: Context, call_next: Handler) -> Message:
        try:
            site = open_site(context)
            if site.rules is None:
                content = content_of(*_checked(call_next(message, context), message, site))
            else:
                content = _ruled(message, context, call_next, site, site.rules)
        except UserError as error:
            log.error("%s", error)
            content = _refusal(error.public)
        except (wire.WireError, UnsoundError) as error:
            log.error("The reply was stopped: %s", error)
            content = _refusal(f"the site's guard stopped the reply: {error}")
        except Exception:
            log.exception("The site failed")
            content = _refusal("the site failed; its own log says why")
        return Message(content, reply_to=message)

    return guard


def _ruled(
    message: Message, context: Context, call_next: Handler, site: Site, rules: Rules
) -> RecordDict:
    """Return what the site's policy lets out. Its ledger has a line of it, or nothing leaves."""
    asked = asked_of(message)
    try:
        rules.check(site.name, site.world, asked)
        arrays, scalars = _checked(call_next(message, context), message, site)
        rules.check(site.name, site.world, asked)  # whatever has happened in the meantime
        arrays, scalars = rules.hidden(arrays, scalars)
    except Exception as error:
        rules.note(asked, {}, getattr(error, "public", type(error).__name__))
        raise
    rules.note(asked, arrays, "")
    return content_of(arrays, scalars)


def _schema(message: Message, site: Site) -> wire.Schema:
    message_type = message.metadata.message_type
    if site.world.config.secure_aggregation and message_type != "query":
        return secure.STEPS.get(message_type) or secure.schema_of(site, message)
    return schema_of(message_type, site.world)


def schema_of(message_type: str, world: World) -> wire.Schema:
    """Return what a reply holds that is not part of a secure sum. Raises `WireError`."""
    findings, experiences = len(world.scenario.findings), world.scenario.experiences
    schemas = {
        "query": wire.HANDSHAKE,
        "train": wire.train_schema(
            world.adaptor,
            world.config.counted(findings),
            world.config.compression_of(world.adaptor),
            world.config.site_part().adds(world.adaptor),
            world.config.privacy.at_sites,
        ),
        "evaluate.coarse": wire.coarse_schema(findings),
        "evaluate.histograms": wire.histogram_schema(experiences, findings, BINS),
    }
    if message_type not in schemas:
        raise wire.WireError(f"no reply to '{message_type}' may leave")
    return schemas[message_type]


def _checked(
    reply: Message, message: Message, site: Site
) -> tuple[wire.ArrayRecords, wire.ScalarRecords]:
    """Return the arrays and the scalars of a reply, or raise `WireError`."""
    schema = _schema(message, site)
    if not reply.has_content():
        raise wire.WireError("the reply carries an error text, which may not leave")
    arrays, scalars = wire.take_apart(reply.content)
    wire.check(schema, arrays, scalars)
    return arrays, scalars


def content_of(arrays: wire.ArrayRecords, scalars: wire.ScalarRecords) -> RecordDict:
    """Build a message's content: records of numbers are metrics, others are configs."""
    content = RecordDict()
    for record, tensors in arrays.items():
        content[record] = held = ArrayRecord()  # filled here: its constructor would copy it
        held[wire.PACKED] = Array(*wire.pack(tensors))
    for record, values in scalars.items():
        numbers = all(isinstance(value, int | float) for value in values.values())
        content[record] = (MetricRecord if numbers else ConfigRecord)(dict(values))  # type: ignore[arg-type]
    return content


def _refusal(reason: str) -> RecordDict:
    return content_of({}, {"refusal": {"reason": reason[: wire.MAX_TEXT]}})
