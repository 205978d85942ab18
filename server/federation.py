"""The server's view of the sites: who takes part, what they are asked, what they answer.

Every reply is checked against the wire's schema and its position before anything is computed
from it; every byte in both directions goes into the ledger.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

import fedretune
from fedretune import wire
from fedretune.errors import UserError
from server.folder import RunFolder
from server.sizes import payload_bytes

#: Seconds between two looks for new nodes.
POLL = 0.5
#: Sites that are asked at a time, so that the server's memory does not grow with their number:
#: no more than their answers are there at once.
GROUP = 32


@dataclass(frozen=True)
class Reply:
    """A site's answer that passed every check."""

    arrays: wire.ArrayRecords
    scalars: wire.ScalarRecords


@dataclass(frozen=True)
class Member:
    """A site that takes part: its node and what it said in the handshake."""

    node: int
    train_examples: tuple[int, ...]
    test_examples: tuple[int, ...]


@dataclass(frozen=True)
class Terms:
    """What all the sites of a run must agree on."""

    version: str
    backbone: str
    prompts: str
    adaptor: str
    dim: int
    findings: tuple[str, ...]
    steps: int
    experiences: int

    def differences(self, other: "Terms") -> str:
        """Name the terms in which `other` differs, with its values."""
        mine, theirs = vars(self), vars(other)
        return ", ".join(
            f"{name} is {str(theirs[name])[:20]}, not {str(mine[name])[:20]}"
            for name in mine
            if mine[name] != theirs[name]
        )


class Federation:
    """The sites behind a Flower `Grid`.

    Parameters
    ----------
    grid : Grid
    folder : RunFolder
        Where the ledger goes.
    timeout : float
        Seconds to wait for the replies of a round, or for sites to appear.
    """

    def __init__(self, grid: Grid, folder: RunFolder, timeout: float) -> None:
        self.grid = grid
        self.folder = folder
        self.timeout = timeout
        self.members: dict[str, Member] = {}

    def gather(self, sites: int) -> Terms:
        """Wait for nodes, shake hands, and keep the sites that agree with the most.

        Parameters
        ----------
        sites : int
            How many to wait for; 0 takes those that are there.

        Raises
        ------
        UserError
            Too few nodes appeared, or none can take part.
        """
        nodes = {f"node {node}": node for node in sorted(self._wait_for_nodes(sites))}
        replies = self._exchange(nodes, "query", lambda _: RecordDict(), wire.HANDSHAKE, -1, -1)
        answers = {nodes[node]: reply.scalars["site"] for node, reply in replies}
        if not answers:
            raise UserError(f"No site can take part; {self.folder.path / 'sites.csv'} says why.")
        terms = _majority([_terms(answer) for answer in answers.values()])
        for node, answer in sorted(answers.items(), key=lambda item: str(item[1]["name"])):
            self._admit(node, answer, terms)
        return terms

    def ask(
        self,
        message_type: str,
        sites: Collection[str],
        content: Callable[[str], RecordDict],
        schema: wire.Schema,
        experience: int,
        round_: int = -1,
    ) -> Iterator[tuple[str, Reply]]:
        """Ask sites, `GROUP` at a time; yield each sound reply in the order of the sites' names.

        A site that refuses, is silent or answers something unsound is listed in ``sites.csv``
        with the reason, and is not among them. `content` makes the message for a site.
        """
        ordered = sorted(sites)
        for start in range(0, len(ordered), GROUP):
            nodes = {site: self.members[site].node for site in ordered[start : start + GROUP]}
            yield from self._exchange(nodes, message_type, content, schema, experience, round_)

    def _exchange(
        self,
        nodes: Mapping[str, int],
        message_type: str,
        content: Callable[[str], RecordDict],
        schema: wire.Schema,
        experience: int,
        round_: int,
    ) -> Iterator[tuple[str, Reply]]:
        position = (experience, round_)
        messages = []
        for site, node in nodes.items():
            sent = content(site)
            self.folder.traffic(site, *position, message_type, "down", payload_bytes(sent))
            messages.append(Message(sent, node, message_type, group_id=str(experience)))
        answers: dict[int, Message] = {}
        for message in self.grid.send_and_receive(messages, timeout=self.timeout):
            answers.setdefault(message.metadata.src_node_id, message)
        for site, node in nodes.items():
            result = self._read(site, answers.pop(node, None), schema, position, message_type)
            if isinstance(result, Reply):
                yield site, result
            else:
                self.folder.site(site, *position, *result)

    def _read(
        self,
        site: str,
        message: Message | None,
        schema: wire.Schema,
        position: tuple[int, int],
        message_type: str,
    ) -> Reply | tuple[str, str]:
        """Return the checked reply, or a status and the reason why there is none."""
        if message is None:
            return "silent", f"no reply within {self.timeout:.0f} s"
        if message.has_error():
            return "failed", f"Flower error {message.error.code}"
        size = payload_bytes(message.content)
        self.folder.traffic(site, *position, message_type, "up", size)
        try:
            arrays, scalars = wire.take_apart(message.content)
            if "refusal" in scalars:
                wire.check(wire.REFUSAL, arrays, scalars)
                return "refused", str(scalars["refusal"]["reason"])
            wire.check(schema, arrays, scalars)
            self._check_metrics(site, scalars.get("metrics", {}), position)
            _check_positives(arrays, scalars)
        except wire.WireError as error:
            return "quarantined", str(error)
        return Reply(arrays, scalars)

    def _check_metrics(
        self, site: str, metrics: Mapping[str, wire.Value], position: tuple[int, int]
    ) -> None:
        experience, round_ = position
        for name, expected in (("experience", experience), ("round", round_)):
            if metrics.get(name, expected) != expected:
                raise wire.WireError(f"{name} is {metrics[name]}, not {expected}")
        examples = metrics.get("num-examples")
        if examples is None:
            return
        member = self.members[site]
        most = member.train_examples[experience] if round_ >= 0 else sum(member.test_examples)
        if not isinstance(examples, int) or not (round_ < 0 or examples > 0) or examples > most:
            raise wire.WireError(f"num-examples is {examples}, and the site announced {most}")

    def _wait_for_nodes(self, sites: int) -> list[int]:
        """Return the nodes once there are `sites` of them, or, for 0, once no more appear."""
        deadline = time.monotonic() + self.timeout
        before: list[int] = []
        while True:
            nodes = list(self.grid.get_node_ids())
            if (sites and len(nodes) >= sites) or (not sites and nodes and nodes == before):
                return nodes
            if time.monotonic() > deadline:
                raise UserError(
                    f"{len(nodes)} of {sites or 'any'} sites appeared within {self.timeout:.0f} s:"
                    " start the missing SuperNodes, or ask for fewer with --sites."
                )
            before = nodes
            time.sleep(POLL)

    def _admit(self, node: int, answer: Mapping[str, wire.Value], terms: Terms) -> None:
        name = str(answer["name"])
        if differences := terms.differences(_terms(answer)):
            self.folder.site(name, -1, -1, "aside", differences)
        elif name in self.members:
            self.folder.site(name, -1, -1, "aside", "another node has the same name")
        else:
            self.members[name] = Member(node, _ints(answer, "train"), _ints(answer, "test"))
            self.folder.site(name, -1, -1, "joined", "")


def _check_positives(arrays: wire.ArrayRecords, scalars: wire.ScalarRecords) -> None:
    if "counts" in arrays:
        most, examples = arrays["counts"]["positives"].max(), scalars["metrics"]["num-examples"]
        if most > int(str(examples)):
            raise wire.WireError(f"{most} positives of a finding among {examples} examples")


def content_of(
    arrays: Mapping[str, Mapping[str, wire.Array]], experience: int, round_: int, run: str
) -> Callable[[], RecordDict]:
    """Return a maker of messages' contents: the arrays' bytes are the same in all of them.

    The bytes cannot be changed. What could be, a record, is each message's own.
    """
    encoded = {
        record: {name: Array(*wire.encode(value)) for name, value in values.items()}
        for record, values in arrays.items()
    }
    return lambda: RecordDict(
        {
            **{record: ArrayRecord(values) for record, values in encoded.items()},
            "position": ConfigRecord({"experience": experience, "round": round_, "run": run}),
        }
    )


def _terms(answer: Mapping[str, wire.Value]) -> Terms:
    texts = {name: str(answer[name]) for name in ("version", "backbone", "prompts", "adaptor")}
    findings = answer["findings"]
    assert isinstance(findings, list)
    return Terms(
        **texts,
        dim=int(str(answer["dim"])),
        findings=tuple(str(finding) for finding in findings),
        steps=len(_ints(answer, "train")),
        experiences=len(_ints(answer, "test")),
    )


def _ints(answer: Mapping[str, wire.Value], split: str) -> tuple[int, ...]:
    counts = answer[f"{split}-examples"]
    assert isinstance(counts, list)
    return tuple(int(count) for count in counts)


def _majority(terms: list[Terms]) -> Terms:
    """Return the terms of the most sites; those of the server's own version win a tie."""
    counts = Counter(terms)
    return max(
        counts, key=lambda each: (counts[each], each.version == fedretune.__version__, str(each))
    )
