"""The server's memory as more sites answer: a process of its own folds their replies."""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fedretune.adaptors import AdaptorSpec, build, to_arrays
from fedretune.bench.frame import Case, Sample, Side
from fedretune.bench.memory import peak_mib, resident_mib
from fedretune.bench.options import Options
from fedretune.bench.process import printed
from fedretune.bench.vectors import DIM, FINDINGS
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.wire import Array, Schema, train_schema

FEW = 10
#: What every made site announces and claims; it changes no size.
_EXAMPLES = 112

_FOLD = """
import sys
from pathlib import Path
from fedretune.bench.rows.server_memory import memory_of
print(memory_of(Path(sys.argv[1]), *map(int, sys.argv[2:])))
"""


def row(options: Options) -> Case:
    """What many replies add to the server's memory, against few.

    The server's own code asks, checks, counts bytes, judges and averages; the replies, of 8 MB
    each, are made where Flower would hand them over.
    """
    app, many = find_app(options.app), options.scale.many

    def grown(replies: int) -> float:
        return float(printed(("-c", _FOLD, str(app.path), str(replies), str(DIM))))

    def side(replies: int) -> Side:
        what = f"what {replies:,} replies add to the server's peak, in a process of its own"
        return Side(what, lambda: Sample(grown(replies), None))

    return Case("MiB", side(many), side(FEW), {"dim": DIM}, repeats=1)


def memory_of(app: Path, replies: int, dim: int) -> float:
    """Fold adaptors of `dim` dimensions in this process: MiB of its peak beyond its start."""
    found = find_app(app)
    spec = AdaptorSpec("mlp", "double", dim, residual=True, scale="learnable", findings=FINDINGS)
    sent = to_arrays(build(spec, 0))
    with tempfile.TemporaryDirectory() as folder:
        ask = _asked(found, MadeReplies(found, sent), Path(folder), replies)
        start = resident_mib()
        mean = found.module("server.aggregation").WeightedMean()
        for _, reply in ask(sent, train_schema(spec, 0)):
            mean.add(reply.arrays["adaptor"], _EXAMPLES)
        mean.mean()
        return peak_mib() - start


class MadeReplies:
    """Stands where Flower's `Grid` stands: each reply a sound one, with bytes of its own.

    A reply waits elsewhere until it is pulled, as at a SuperLink.
    """

    def __init__(self, app: AppFolder, adaptor: dict[str, Array]) -> None:
        self._content_of = app.module("clients.guard").content_of
        self._adaptor = adaptor
        self._metrics = {"experience": 0, "round": 0, "num-examples": _EXAMPLES, "loss": 0.5}
        self._sent: dict[str, Any] = {}
        self._numbers = itertools.count()

    def push_messages(self, messages: Sequence[Any]) -> list[str]:
        """Take the messages; return their ids."""
        for message in messages:
            message_id = str(next(self._numbers))
            vars(message.metadata)["_message_id"] = message_id  # as the SuperLink does
            self._sent[message_id] = message
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Any]:
        """Answer the messages of these ids."""
        return [self._reply(self._sent.pop(each)) for each in message_ids]

    def _reply(self, message: Any) -> Any:
        content = self._content_of({"adaptor": self._adaptor}, {"metrics": self._metrics})
        return type(message)(content, reply_to=message)


def _asked(
    app: AppFolder, grid: MadeReplies, folder: Path, sites: int
) -> Callable[[dict[str, Array], Schema], Iterator[tuple[str, Any]]]:
    """Return what asks all of a federation's sites to train an adaptor, as a round does."""
    app.module("server.simulator").take_identity()
    server, plausible = app.module("server.federation"), app.module("server.plausible")
    run = app.module("server.folder").RunFolder.create(folder, "bench", {})
    federation = server.Federation(grid, run, 60.0, 3, lambda: plausible.Cohort(5.0, 64))
    for node in range(1, sites + 1):
        federation.members[f"site-{node:04}"] = server.Member(node, (_EXAMPLES,), (0,))

    def ask(adaptor: dict[str, Array], schema: Schema) -> Iterator[tuple[str, Any]]:
        content = app.module("server.messages").content_of({"adaptor": adaptor}, 0, 0, "bench")
        came = federation.ask(
            "train", list(federation.members), lambda site: content(), schema, 0, 0
        )
        trained = ((site, reply, reply.arrays["adaptor"]) for site, reply in came)
        for site, reply, _ in federation.plausible(trained, lambda site: adaptor, 0, 0):
            yield site, reply

    return ask
