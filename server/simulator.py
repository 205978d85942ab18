"""The same ServerApp and ClientApp in one process: no Ray, no ports, the same numbers.

The `Grid` here hands each message straight to the ClientApp and keeps the reply. A site's
memory (`Context.state`) lives as long as the run, as under Flower.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

ClientCallable = Callable[[Message, Context], Message]
ServerCallable = Callable[[Grid, Context], None]
RunValues = Mapping[str, str | int | float | bool]

#: The server's own node id; those of the sites begin at 1.
SERVER_NODE = 0
#: Flower's code for an exception in the ClientApp.
CLIENT_APP_RAISED = 2


class InProcessGrid(Grid):
    """A `Grid` whose nodes are calls of a ClientApp.

    Parameters
    ----------
    client_app : callable (message, context) -> message
    contexts : mapping of node id to Context
    """

    def __init__(self, client_app: ClientCallable, contexts: Mapping[int, Context]) -> None:
        self._client_app = client_app
        self._contexts = contexts
        self._replies: dict[str, Message] = {}
        self._numbers = itertools.count(1)

    def set_run(self, run: Run) -> None:
        """Do nothing: there is one run in a process."""

    @property
    def run(self) -> Run:
        """There is no SuperLink, and so no record of a run."""
        raise RuntimeError("an in-process run is not known to a SuperLink")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes' ids."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer each message at once; return the ids under which the replies wait."""
        return [self._answer(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages, each once."""
        return [self._replies.pop(each) for each in message_ids if each in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the replies to `messages`, in their order."""
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> str:
        node = message.metadata.dst_node_id
        message_id = str(next(self._numbers))
        try:
            reply = self._client_app(message, self._contexts[node])
        except Exception as error:  # Flower answers with an error message too
            reply = Message(Error(CLIENT_APP_RAISED, str(error)), reply_to=message)
        self._replies[message_id] = reply
        return message_id


def simulate(
    server_app: ServerCallable, client_app: ClientCallable, run_config: RunValues, sites: int
) -> None:
    """Run `server_app` over `sites` nodes that are calls of `client_app`.

    Raises
    ------
    UserError
        What the ServerApp raises.
    """
    take_identity()
    contexts = {
        node: _context(node, {"partition-id": node - 1, "num-partitions": sites}, run_config)
        for node in range(1, sites + 1)
    }
    server_app(InProcessGrid(client_app, contexts), _context(SERVER_NODE, {}, run_config))


def take_identity() -> None:
    """Give this process the identity that Flower gives to a ServerApp's, and `Message` asks for."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, SERVER_NODE, 0


def _context(node: int, node_config: RunValues, run_config: RunValues) -> Context:
    return Context(
        run_id=1,
        node_id=node,
        node_config=dict(node_config),
        state=RecordDict(),
        run_config=dict(run_config),
    )
