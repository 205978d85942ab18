"""The same ServerApp and ClientApp without Ray and without ports: the same numbers.

The `Grid` here hands each message straight to the ClientApp, in this process or in one forked
from it, and keeps the reply. A site's memory (`Context.state`) lives as long as the run, as under
Flower.
"""

import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedretune.errors import UserError
from fedretune.workers import settle_in

ClientCallable = Callable[[Message, Context], Message]
ServerCallable = Callable[[Grid, Context], None]
RunValues = Mapping[str, str | int | float | bool]
#: A message to a node, or its reply, with the node's context.
Asked = tuple[Message, Context]
#: Answers messages, in their order.
Answer = Callable[[Sequence[Asked]], Iterator[Asked]]
#: Sees messages before they are answered.
Ahead = Callable[[Sequence[Asked]], None]
#: Has the nodes answer messages, in their order.
Ask = Callable[[Sequence[Message]], list[Message]]
#: From messages, and what has nodes answer them, to the replies that reach the server: fewer,
#: more or others, where a simulation wants to see what becomes of a run then.
Network = Callable[[Sequence[Message], Ask], list[Message]]

#: The server's own node id; those of the sites begin at 1.
SERVER_NODE = 0
#: Flower's code for an exception in the ClientApp.
CLIENT_APP_RAISED = 2


class InProcessGrid(Grid):
    """A `Grid` whose nodes are calls of a ClientApp.

    Parameters
    ----------
    answer : callable ([(message, context)]) -> iterator of (reply, context)
    contexts : mapping of node id to Context
    network : callable
        What is between the server and the nodes.
    ahead : callable ([(message, context)]), optional
        Called with all messages of an exchange before any is answered.
    """

    #: Who has sent messages need not wait: what has not come by then never will.
    at_once = True

    def __init__(
        self,
        answer: Answer,
        contexts: Mapping[int, Context],
        network: Network,
        ahead: Ahead | None = None,
    ) -> None:
        self._answer = answer
        self._network = network
        self._ahead = ahead
        self._contexts = dict(contexts)
        self._arrived: list[Message] = []
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
        """Answer the messages; return the ids that the replies refer to."""
        sent = list(messages)
        for each in sent:
            vars(each.metadata)["_message_id"] = str(next(self._numbers))  # as the SuperLink does
        self._arrived += self._network(sent, self._ask)
        return [each.metadata.message_id for each in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return all that has arrived, once: the replies to these messages, and late ones.

        Flower hands over no late ones, and no two replies to one message; a server that can do
        with them here can do without.
        """
        arrived, self._arrived = self._arrived, []
        return arrived

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the replies to `messages`: in their order, unless the network changes it."""
        return self.pull_messages(self.push_messages(messages))

    def _ask(self, messages: Sequence[Message]) -> list[Message]:
        replies = []
        asked = [(each, self._contexts[each.metadata.dst_node_id]) for each in messages]
        if self._ahead:
            self._ahead(asked)
        for reply, context in self._answer(asked):
            self._contexts[context.node_id] = context
            replies.append(reply)
        return replies


def simulate(
    server_app: ServerCallable,
    client_app: ClientCallable,
    run_config: RunValues,
    sites: int,
    workers: int = 1,
    ahead: Ahead | None = None,
    network: Network | None = None,
) -> None:
    """Run `server_app` over `sites` nodes that are calls of `client_app`.

    Parameters
    ----------
    server_app, client_app : callable
    run_config : mapping
    sites : int
    workers : int (default: 1)
        Processes that the sites are shared among. With 1, or where processes cannot be forked
        safely (not Linux), the sites take turns in this one. The numbers are the same.
    ahead : callable ([(message, context)]), optional
        Sees all messages of an exchange before any is answered, in this process.
    network : callable, optional
        What is between the server and the nodes; by default nothing.

    Raises
    ------
    UserError
        What the ServerApp raises; or a worker that was ended from outside.
    """
    take_identity()
    contexts = {
        node: _context(node, {"partition-id": node - 1, "num-partitions": sites}, run_config)
        for node in range(1, sites + 1)
    }
    with _answering(client_app, 1 if ahead else min(workers, sites)) as answer:
        grid = InProcessGrid(answer, contexts, network or _straight, ahead)
        server_app(grid, _context(SERVER_NODE, {}, run_config))


def _straight(messages: Sequence[Message], ask: Ask) -> list[Message]:
    return ask(messages)


@contextmanager
def _answering(client_app: ClientCallable, workers: int) -> Iterator[Answer]:
    """Give what answers messages: this process, or `workers` of its forks, which end with it."""
    here = partial(_reply, client_app)
    if workers < 2 or sys.platform != "linux":
        yield lambda asked: map(here, asked)
        return
    forks = multiprocessing.get_context("fork")  # they share what this process has loaded
    pool = ProcessPoolExecutor(workers, forks, initializer=_begin, initargs=(client_app,))
    first = iter([True])

    def answer(asked: Sequence[Asked]) -> Iterator[Asked]:
        # The very first message is answered here, so that there is something to share.
        begun = int(next(first, False))
        yield from map(here, asked[:begun])
        try:
            yield from pool.map(_reply_in_fork, asked[begun:])
        except BrokenProcessPool:
            raise UserError(
                "A worker process was ended from outside: is there enough memory? Nothing is "
                "lost: go on with --resume, perhaps with fewer --workers."
            ) from None

    try:
        yield answer
    finally:
        pool.shutdown(cancel_futures=True)


#: In a fork: the ClientApp, which cannot be sent to it.
_served: list[ClientCallable] = []


def _begin(client_app: ClientCallable) -> None:
    import torch

    settle_in()
    # A fork has none of its parent's threads, and would wait for them for ever.
    torch.set_num_threads(1)
    _served.append(client_app)


def _reply_in_fork(asked: Asked) -> Asked:
    return _reply(_served[0], asked)


def _reply(client_app: ClientCallable, asked: Asked) -> Asked:
    """Return the reply, and the context with what the site wrote into it."""
    message, context = asked
    try:
        return client_app(message, context), context
    except Exception as error:  # Flower answers with an error message too
        return Message(Error(CLIENT_APP_RAISED, str(error)), reply_to=message), context


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
