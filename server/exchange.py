"""Sending messages and waiting for the replies, each by itself.

Flower's `send_and_receive` reads all that has come at once: one reply that it cannot read raises,
and takes the others with it. Over HTTP it also looks every 3 s only.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid
from google.protobuf.message import DecodeError

#: What reading bytes that a site made up may raise. A SuperLink that does not answer raises others.
UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, DecodeError)
#: Seconds between two looks for replies: at first, how much longer each time, and at most. So a
#: tenth of a short round is spent on waiting at most, and a long one costs few looks.
PAUSE, LONGER, LONGEST = 0.05, 1.1, 0.5


@dataclass(frozen=True)
class Exchanged:
    """What came of messages.

    Parameters
    ----------
    replies : list of Message
        In no particular order, those that were asked for and others.
    unreadable : dict of str
        By the id of the message that was sent: what reading its reply raised.
    """

    replies: list[Message] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def exchange(grid: Grid, messages: Sequence[Message], timeout: float) -> Exchanged:
    """Send messages; return what has come when all have been replied to, or after `timeout` s."""
    if getattr(grid, "at_once", False):  # replies are there at once, or never
        return Exchanged(list(grid.send_and_receive(messages, timeout=timeout)))
    found = Exchanged()
    waiting = [message_id for message_id in grid.push_messages(messages) if message_id]
    deadline, pause = time.monotonic() + timeout, PAUSE
    while waiting := [each for each in waiting if not _pulled(grid, each, found)]:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(pause, left))
        pause = min(pause * LONGER, LONGEST)
    return found


def _pulled(grid: Grid, message_id: str, found: Exchanged) -> bool:
    """Tell whether there is a reply to a message; put it among those found."""
    try:
        replies = list(grid.pull_messages([message_id]))
    except UNREADABLE as error:
        found.unreadable[message_id] = type(error).__name__
        return True
    found.replies.extend(replies)
    return bool(replies)
