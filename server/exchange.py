"""Sending messages and waiting for the replies, each by itself.

Flower's `send_and_receive` reads all that has come at once: one reply that it cannot read raises,
and takes the others with it. Over HTTP it also looks every 3 s only.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from flwr.app import Message
from flwr.serverapp import Grid
from google.protobuf.message import DecodeError

#: What reading bytes that a site made up may raise. A SuperLink that does not answer raises others.
UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, DecodeError)
#: Seconds between two looks for replies: at first, how much longer each time, and at most. So a
#: tenth of a short round is spent on waiting at most, and a long one costs few looks.
PAUSE, LONGER, LONGEST = 0.05, 1.1, 0.5


#: A site, and the message to it.
Addressed = tuple[str, Message]


@dataclass(frozen=True)
class Exchanged:
    """What came of some messages.

    Parameters
    ----------
    sent : dict of Message
        By the site that each went to.
    replies : list of Message
        In no particular order, those that were asked for and others.
    unreadable : str
        What reading the reply to the one message raised; empty where nothing was.
    """

    sent: dict[str, Message]
    replies: list[Message]
    unreadable: str = ""


def at_once(grid: Grid) -> bool:
    """Tell whether replies are there as soon as messages are sent, or never: in a simulation."""
    return bool(getattr(grid, "at_once", False))


def exchange(
    grid: Grid, messages: Iterable[Addressed], timeout: float, width: int
) -> Iterator[Exchanged]:
    """Send messages, and yield what comes of each, in their order.

    No more than `width` of them are under way at a time, and a further one is not made before: so
    that neither the server's memory nor the SuperLink's grows with the number of sites. A reply
    stays at the SuperLink until its turn, and is waited for until `timeout` seconds after its
    message was sent.
    """
    waiting = iter(messages)
    if at_once(grid):
        while sent := dict(islice(waiting, width)):
            yield Exchanged(sent, list(grid.send_and_receive(sent.values(), timeout=timeout)))
        return
    under_way: deque[tuple[Addressed, float]] = deque()
    while True:
        if len(under_way) <= width // 2:  # a message by itself takes as many calls as many do
            under_way += _sent(grid, list(islice(waiting, width - len(under_way))), timeout)
        if not under_way:
            return
        yield _awaited(grid, *under_way.popleft())


def _sent(grid: Grid, messages: list[Addressed], timeout: float) -> list[tuple[Addressed, float]]:
    """Send messages; return each with the time until which its reply is waited for."""
    if not messages:
        return []
    taken = set(grid.push_messages([message for _, message in messages]))
    until = time.monotonic() + timeout
    return [(each, until if each[1].metadata.message_id in taken else 0.0) for each in messages]


def _awaited(grid: Grid, addressed: Addressed, until: float) -> Exchanged:
    """Wait for the reply to a message; one that the SuperLink did not take gets none."""
    sent, message_id, pause = dict([addressed]), addressed[1].metadata.message_id, PAUSE
    while until:
        try:
            replies = list(grid.pull_messages([message_id]))
        except UNREADABLE as error:
            return Exchanged(sent, [], type(error).__name__)
        left = until - time.monotonic()
        if replies or left <= 0:
            return Exchanged(sent, replies)
        time.sleep(min(pause, left))
        pause = min(pause * LONGER, LONGEST)
    return Exchanged(sent, [])
