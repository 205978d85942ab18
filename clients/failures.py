"""Sites that fail in a simulation, as `scenarios.failures` draws it."""

from collections.abc import Sequence

from flwr.app import Error, Message

from clients.network import Ask, Late, position
from scenarios.failures import Failures, Fate

#: Flower's codes, with its texts' sense: a ClientApp whose process ended, and a node that is gone.
ERRORS: dict[Fate, Error] = {
    "crash": Error(8, "the site's process ended"),
    "leave": Error(5, "the site is not there"),
}
#: What becomes of a site while it trains, and what it is asked before, in a secure sum.
AT_WORK, BEFORE = ("crash", "slow"), ("query.keys", "query.shares")


class Failing:
    """A `clients.network.Network` whose sites crash, are slow, leave and come back.

    Parameters
    ----------
    failures : Failures
    seed : int
        The run's.
    """

    def __init__(self, failures: Failures, seed: int) -> None:
        self._failures, self._seed = failures, seed
        self._late = Late()

    def __call__(self, messages: Sequence[Message], ask: Ask) -> list[Message]:
        """Return the replies of the sites that are well, errors of others, and what is late."""
        fates = [self._fate(each) for each in messages]
        asked = [each for each, fate in zip(messages, fates, strict=True) if fate not in ERRORS]
        late = self._late.due(asked)
        slow = {
            each.metadata.dst_node_id
            for each, fate in zip(messages, fates, strict=True)
            if fate == "slow"
        }
        replies = ask(asked)
        self._late.hold([each for each in replies if each.metadata.src_node_id in slow])
        return [
            *late,
            *(each for each in replies if each.metadata.src_node_id not in slow),
            *(
                Message(ERRORS[fate], reply_to=message)
                for message, fate in zip(messages, fates, strict=True)
                if fate in ERRORS
            ),
        ]

    def _fate(self, message: Message) -> Fate:
        node, (experience, round_) = message.metadata.dst_node_id, position(message)
        fate = self._failures.fate(self._seed, node - 1, experience, round_)
        # Who crashes or is slow is so at its work, of which a secure sum has some before and after.
        return "" if fate in AT_WORK and message.metadata.message_type in BEFORE else fate
