"""What a site answered, checked before anything is computed from it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Message

from fedretune import wire
from server.handshake import Member

#: Flower's codes for an answer that the SuperLink gives in the place of a node that is not there.
GONE = (3, 4, 5)
#: No loss is above it. The mean over labelled entries of a binary cross-entropy is below 100.
MAX_LOSS = 1e6
#: Most noise that a site may say its counts have, and how far beyond its scale noise may go.
MAX_NOISE, TAIL = 1000.0, 20


@dataclass(frozen=True)
class Reply:
    """A site's answer that passed every check."""

    arrays: wire.ArrayRecords
    scalars: wire.ScalarRecords


@dataclass(frozen=True)
class NoReply:
    """Why there is nothing of a site: a status of ``sites.csv``, and the reason."""

    status: str
    reason: str


@dataclass(frozen=True)
class Arrived:
    """What came of an exchange.

    Parameters
    ----------
    first : dict of site to Message
        The first reply to each message.
    strays : Counter of node
        How many replies of a node were to no message of this exchange: to one of before, or by a
        node that was not asked.
    repeated : Counter of site
        How many replies of a site came after its first.
    """

    first: dict[str, Message] = field(default_factory=dict)
    strays: Counter[int] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)


def sort_out(messages: Mapping[str, Message], replies: Iterable[Message]) -> Arrived:
    """Find each reply's message, by its id; `messages` are those that were sent, by site."""
    asked = {message.metadata.message_id: site for site, message in messages.items()}
    arrived = Arrived()
    for reply in replies:
        told = reply.metadata
        site = asked.get(told.reply_to_message_id)
        # The SuperLink answers in the place of a node that is gone, by an error.
        known = site is not None and (
            reply.has_error() or told.src_node_id == messages[site].metadata.dst_node_id
        )
        if site is None or not known:
            arrived.strays[told.src_node_id] += 1
        elif site in arrived.first:
            arrived.repeated[site] += 1
        else:
            arrived.first[site] = reply
    return arrived


def read(
    message: Message, schema: wire.Schema, position: tuple[int, int], member: Member | None
) -> Reply | NoReply:
    """Return a reply that may be used, or why there is none. Raises nothing, whatever it holds.

    Parameters
    ----------
    message : Message
    schema : wire.Schema
        What must be in it.
    position : (int, int)
        The experience and the round that it must be about; -1 where there is none.
    member : Member | None
        What the site said in the handshake; None while it is that which is read.
    """
    if message.has_error():
        if message.error.code in GONE:
            return NoReply("silent", "its node is gone")
        return NoReply("failed", f"Flower error {message.error.code}")
    try:
        arrays, scalars = wire.take_apart(message.content)
        if "refusal" in scalars:
            wire.check(wire.REFUSAL, arrays, scalars)
            return NoReply("refused", printable(str(scalars["refusal"]["reason"])))
        wire.check(schema, arrays, scalars)
        if member and "metrics" in scalars:
            _check_metrics(scalars["metrics"], position, member)
            _check_counts(arrays, int(str(scalars["metrics"]["num-examples"])), _noise(scalars))
    except wire.WireError as error:
        return NoReply("quarantined", printable(str(error)))
    except Exception as error:  # of whatever else one can send, none may end the run
        return unreadable(type(error).__name__)
    return Reply(arrays, scalars)


def unreadable(error: str) -> NoReply:
    """Return why there is nothing of a reply on which reading it raised an `error`."""
    return NoReply("quarantined", f"it cannot be read ({error})")


def examples_of(reply: Reply) -> int:
    """Return on how many examples a reply says that it was trained or counted."""
    return int(str(reply.scalars["metrics"]["num-examples"]))


def printable(text: str) -> str:
    """Return a text that came from elsewhere as a table and a terminal can take it."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _check_metrics(
    metrics: Mapping[str, wire.Value], position: tuple[int, int], member: Member
) -> None:
    experience, round_ = position
    for name, expected in (("experience", experience), ("round", round_)):
        if metrics.get(name, expected) != expected:
            raise wire.WireError(f"{name} is {metrics[name]}, not {expected}")
    most = member.train_examples[experience] if round_ >= 0 else sum(member.test_examples)
    least = 1 if round_ >= 0 else 0
    examples = metrics["num-examples"]
    if not isinstance(examples, int) or not least <= examples <= most:
        raise wire.WireError(f"num-examples is {examples}, and the site announced {most}")
    loss = metrics.get("loss", 0.0)
    if not isinstance(loss, float) or not 0 <= loss <= MAX_LOSS:
        raise wire.WireError(f"loss is {loss}; a loss is between 0 and {MAX_LOSS:.0f}")


def _noise(scalars: wire.ScalarRecords) -> float:
    """Return the scale of the noise that a site says each of its cells has; 0 for none."""
    scale = scalars.get("noised", {}).get("scale", 0.0)
    if not isinstance(scale, float) or not 0 <= scale <= MAX_NOISE:
        raise wire.WireError(f"noise of scale {scale}; it is between 0 and {MAX_NOISE:.0f}")
    return scale


def _check_counts(arrays: wire.ArrayRecords, examples: int, noise: float) -> None:
    if "counts" in arrays:
        most = int(arrays["counts"]["positives"].max())
        if most > examples:
            raise wire.WireError(f"{most} positives of a finding among {examples} examples")
    for counts in arrays.get("histogram", {}).values():
        # [rules, F, 2, cells], or [rules, E, F, 2, bins]: each image once for a rule and a finding.
        by_finding = counts.sum((-2, -1), dtype=np.float64)
        most = int(by_finding.reshape(len(counts), -1, by_finding.shape[-1]).sum(1).max())
        cells = counts.size // (len(counts) * by_finding.shape[-1])
        if most > examples + TAIL * noise * cells:
            raise wire.WireError(f"{most} scores of a finding among {examples} examples")
