"""What a simulation may put between the server and its sites; see `clients.staging`."""

from collections.abc import Callable, Sequence

from flwr.app import ConfigRecord, Message

#: Has the sites answer messages: one reply each, in their order.
Ask = Callable[[Sequence[Message]], list[Message]]
#: From messages, and what has sites answer them, to the replies that reach the server.
Network = Callable[[Sequence[Message], Ask], list[Message]]


def position(message: Message) -> tuple[int, int]:
    """Return the experience and the round that the server's message is about; -1 for neither."""
    told = message.content.config_records.get("position", ConfigRecord())
    return int(str(told.get("experience", -1))), int(str(told.get("round", -1)))


class Late:
    """Replies that miss their round, and come with the same sites' answers to their next one."""

    def __init__(self) -> None:
        self._held: list[Message] = []

    def hold(self, replies: Sequence[Message]) -> None:
        """Keep replies back."""
        self._held += replies

    def due(self, messages: Sequence[Message]) -> list[Message]:
        """Return, once, the replies that come now that these messages are answered."""
        asked = {each.metadata.dst_node_id for each in messages if _trains(each)}
        due = [each for each in self._held if each.metadata.src_node_id in asked]
        self._held = [each for each in self._held if each.metadata.src_node_id not in asked]
        return due


def _trains(message: Message) -> bool:
    return bool(message.metadata.message_type == "train")
