"""The server's view of the sites: who takes part, what they are asked, what they answer.

Every reply is checked against the wire's schema and its position before anything is computed
from it; every byte in both directions goes into the ledger. Nothing here depends on the order in
which replies arrive.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedretune import wire
from fedretune.compression.chain import Held
from fedretune.errors import UserError
from server.admitted import Admitted
from server.down import Holdings
from server.exchange import UNREADABLE, Exchanged, at_once, exchange
from server.folder import RunFolder
from server.handshake import Member, Terms, majority, member_of, objection, terms_of
from server.plausible import Cohort, update_length
from server.recorder import Recorder
from server.replies import NoReply, Reply, examples_of, read, sort_out, unreadable
from server.sizes import known_bytes, payload_bytes
from server.standing import Standing

Arrays = Mapping[str, wire.Array]

#: Seconds between two looks for new nodes.
POLL = 0.5
#: Sites whose answers are judged together, at most and at least, and the bytes of these between
#: the two: so that the server's memory does not grow with their number.
GROUP, FEWEST, GROUP_BYTES = 32, 8, 64 * 2**20
#: How many groups are asked at a time where a SuperLink keeps their answers until they are read.
WIDER = 4
#: Seconds by which a site's clock may be wrong. A message that nobody fetched in its round and
#: these is no work for a site that comes back.
LEEWAY = 600.0


def group_size(size: int) -> int:
    """Return how many sites' answers to judge together, by the bytes of a message."""
    return min(GROUP, max(FEWEST, GROUP_BYTES // max(size, 1)))


def _groups(
    trained: Iterator[tuple[str, Reply, Arrays]],
) -> Iterator[list[tuple[str, Reply, Arrays]]]:
    """Yield replies as they are judged together: the more of them, the smaller their adaptors."""
    for first in trained:
        size = sum(array.nbytes for array in first[2].values())
        yield [first, *islice(trained, group_size(size) - 1)]


class Federation:
    """The sites behind a Flower `Grid`.

    Parameters
    ----------
    grid : Grid
    folder : RunFolder
        Where the ledger goes. What it says of the sites so far still counts.
    timeout : float
        Seconds to wait for a site's reply, or for sites to appear.
    patience : int
        See `Standing`.
    cohort : callable () -> Cohort
        Makes what judges the updates of a round.
    recorder : Recorder, optional
        Keeps every message.
    counted : bool (default: True)
        Whether sites tell how many images they have, rather than whether there are any.
    admitted : Admitted, optional
        By which a site shows that it is the one that it says; without it, it is believed.
    """

    def __init__(
        self,
        grid: Grid,
        folder: RunFolder,
        timeout: float,
        patience: int,
        cohort: Callable[[], Cohort],
        recorder: Recorder | None = None,
        counted: bool = True,
        admitted: Admitted | None = None,
    ) -> None:
        self.grid = grid
        self.folder = folder
        self.timeout = timeout
        self.members: dict[str, Member] = {}
        self._cohort = cohort
        self._recorder = recorder
        self._counted = counted
        self._admitted = admitted
        self._known: set[int] = set()
        self._standing = Standing(patience)
        self._holdings = Holdings()
        for row in folder.read("sites.csv"):
            where = (int(row["experience"]), int(row["round"]))
            self._take_in(row["site"], where, row["status"], row["reason"])

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
        answers = self._shake_hands(self._wait_for_nodes(sites), -1)
        if not answers:
            raise UserError(f"No site can take part; {self.folder.path / 'sites.csv'} says why.")
        terms = majority([terms_of(answer) for answer in answers.values()])
        self._admit(answers, terms, -1)
        return terms

    def welcome(self, terms: Terms, experience: int) -> None:
        """Let sites join that have appeared since, or have come back as another node.

        A site that has trained before keeps its name, and with it all that is known of it.
        """
        new = [node for node in self.grid.get_node_ids() if node not in self._known]
        if new:
            self._admit(self._shake_hands(new, experience), terms, experience)

    def present(self, experience: int) -> list[str]:
        """Return the sites that are not put aside in an experience, in the order of names."""
        return [site for site in sorted(self.members) if not self._standing.aside(site, experience)]

    def holds(self, site: str) -> tuple[Held | None, str]:
        """Return where a site came to the adaptor that it holds, and with which it would begin."""
        return self._holdings.of(site), self.members[site].first

    def ask(
        self,
        message_type: str,
        sites: Collection[str],
        content: Callable[[str], RecordDict],
        schema: wire.Schema,
        experience: int,
        round_: int = -1,
    ) -> Iterator[tuple[str, Reply]]:
        """Ask sites, some at a time; yield each sound reply in the order of the sites' names.

        A site that refuses, is silent or answers something unsound is listed in ``sites.csv``
        with the reason, and is not among them. `content` makes the message for a site.
        """
        nodes = {site: self.members[site].node for site in sorted(sites)}
        sent = payload_bytes(content(next(iter(nodes)))) if nodes else 0
        group = group_size(max(sent, known_bytes(schema)))
        width = group if at_once(self.grid) else WIDER * group
        yield from self._exchange(nodes, message_type, content, schema, experience, round_, width)

    def plausible(
        self,
        trained: Iterable[tuple[str, Reply, Arrays]],
        sent: Callable[[str], Arrays],
        experience: int,
        round_: int,
    ) -> Iterator[tuple[str, Reply, Arrays]]:
        """Yield the replies of a round whose update is of a plausible length; list every site.

        Parameters
        ----------
        trained : iterable of (site, reply, adaptor)
            In the order of the sites' names.
        sent : callable
            From a site to the adaptor that it was sent.
        experience, round_ : int
        """
        cohort = self._cohort()
        for group in _groups(iter(trained)):
            updates = [
                (update_length(adaptor, sent(site)), examples_of(reply))
                for site, reply, adaptor in group
            ]
            for why in cohort.judge(updates):
                site, reply, adaptor = group.pop(0)
                if why:
                    self.note(site, experience, round_, "quarantined", why)
                else:
                    self.note(site, experience, round_, "trained", "")
                    yield site, reply, adaptor

    def note(self, site: str, experience: int, round_: int, status: str, reason: str) -> None:
        """List what a site did; put it aside where that was once too often."""
        before = self._standing.aside(site, experience)
        self.folder.site(site, experience, round_, status, reason)
        self._take_in(site, (experience, round_), status, reason)
        if not before and (why := self._standing.aside(site, experience)):
            self.folder.site(site, experience, round_, "aside", why)

    def _take_in(self, site: str, where: Held, status: str, reason: str) -> None:
        self._standing.note(site, where[0], status)
        self._holdings.note(site, where, status, reason)

    def _exchange(
        self,
        nodes: Mapping[str, int],
        message_type: str,
        content: Callable[[str], RecordDict],
        schema: wire.Schema,
        experience: int,
        round_: int,
        width: int,
    ) -> Iterator[tuple[str, Reply]]:
        position = (experience, round_)
        if self._recorder:
            self._recorder.begin()

        def messages() -> Iterator[tuple[str, Message]]:
            lives, group = self.timeout + LEEWAY, str(experience)
            for site, node in nodes.items():
                sent = content(site)
                self._count(site, position, message_type, "down", sent)
                yield site, Message(sent, node, message_type, ttl=lives, group_id=group)

        for came in exchange(self.grid, messages(), self.timeout, width):
            answers = self._answers(came, position)
            for site in came.sent:
                found = self._read(site, answers.pop(site, None), schema, position, message_type)
                if isinstance(found, Reply):
                    yield site, found
                else:
                    self.note(site, *position, found.status, found.reason)

    def _answers(self, came: Exchanged, position: tuple[int, int]) -> dict[str, Message | NoReply]:
        """Return the first reply to each message. Others are dropped, and listed."""
        arrived = sort_out(came.sent, came.replies)
        came.replies.clear()  # or they would all wait for the last of them to be read
        names = {member.node: site for site, member in self.members.items()}
        for node, count in sorted(arrived.strays.items()):
            what = f"dropped: {count} to no message of this round"
            self.note(names.get(node, f"node {node}"), *position, "late", what)
        for site, count in sorted(arrived.repeated.items()):
            self.note(site, *position, "repeated", f"dropped: {count} after the first reply")
        if came.unreadable:
            return {site: unreadable(came.unreadable) for site in came.sent}
        return dict(arrived.first)

    def _read(
        self,
        site: str,
        message: Message | NoReply | None,
        schema: wire.Schema,
        position: tuple[int, int],
        message_type: str,
    ) -> Reply | NoReply:
        """Return the checked reply, or why there is none; count its bytes."""
        if message is None:
            return NoReply("silent", f"no reply within {self.timeout:.0f} s")
        if isinstance(message, NoReply):
            return message
        if not message.has_error():
            try:
                self._count(site, position, message_type, "up", message.content)
            except UNREADABLE as error:
                return unreadable(type(error).__name__)
        found = read(message, schema, position, self.members.get(site))
        if message.has_content():
            # Flower's records refer to themselves: their bytes would wait for the collector.
            for record in message.content.array_records.values():
                record.clear()
        return found

    def _count(
        self, site: str, position: tuple[int, int], kind: str, direction: str, content: RecordDict
    ) -> None:
        """Put a message's bytes into the ledger, and keep them where that is wanted."""
        self.folder.traffic(site, *position, kind, direction, payload_bytes(content))
        if self._recorder:
            self._recorder.note(site, *position, kind, direction, content)

    def _wait_for_nodes(self, sites: int) -> list[int]:
        """Return the nodes once there are `sites` of them, or, for 0, once no more appear."""
        deadline = time.monotonic() + self.timeout
        before: list[int] = []
        while True:
            nodes = list(self.grid.get_node_ids())
            if (sites and len(nodes) >= sites) or (not sites and nodes and nodes == before):
                return nodes
            if time.monotonic() > deadline:
                raise UserError(self._too_few(nodes, sites))
            before = nodes
            time.sleep(POLL)

    def _too_few(self, nodes: Sequence[int], sites: int) -> str:
        missing = f"{sites - len(nodes)} of {sites} sites are" if sites else "Every site is"
        return (
            f"{missing} missing after {self.timeout:.0f} s{self._who_is_missing(nodes)}: start "
            "their SuperNodes and go on with --resume, or ask for fewer with --sites."
        )

    def _who_is_missing(self, nodes: Sequence[int]) -> str:
        """Name the sites of a resumed run that are not behind `nodes`, as far as these say."""
        before = {row["site"] for row in self.folder.read("sites.csv") if row["status"] == "joined"}
        if not before:
            return ""
        answers = self._shake_hands(nodes, -1) if nodes else {}
        missing = sorted(before - {str(answer["name"]) for answer in answers.values()})
        return f" (of those before: {', '.join(missing[:20])})"

    def _shake_hands(
        self, nodes: Collection[int], experience: int
    ) -> dict[int, Mapping[str, wire.Value]]:
        """Return what each node says of itself, if a site that says so can take part at all."""
        asked = {f"node {node}": node for node in sorted(nodes)}
        found: dict[int, Mapping[str, wire.Value]] = {}
        question = self._admitted and self._admitted.ask(nodes)

        def content(name: str) -> RecordDict:
            return question.content(asked[name]) if question else RecordDict()

        for name, reply in self._exchange(
            asked, "query", content, wire.HANDSHAKE, experience, -1, len(asked)
        ):
            self._known.add(asked[name])
            answer = dict(reply.scalars["site"])
            for more in ("trunk", "first"):
                answer.update(reply.scalars.get(more, {}))
            why = objection(answer)
            if question:
                why = why or question.objection(asked[name], reply.scalars)
            if why:
                self.folder.site(name, experience, -1, "aside", why)
            else:
                found[asked[name]] = answer
        return found

    def _admit(
        self, answers: Mapping[int, Mapping[str, wire.Value]], terms: Terms, experience: int
    ) -> None:
        there = set(self.grid.get_node_ids())
        for node, answer in sorted(answers.items(), key=lambda item: str(item[1]["name"])):
            name = str(answer["name"])
            why = terms.differences(terms_of(answer))
            if name in self.members and self.members[name].node in there:
                why = why or "another node has the same name"
            if why:
                self.folder.site(name, experience, -1, "aside", why)
            else:
                member = self.members[name] = member_of(node, answer)
                self.folder.site(name, experience, -1, "joined", "")
                told = (member.train_examples, member.test_examples) if self._counted else ((), ())
                sizes = dict(zip(("train", "test"), told, strict=True))
                self.folder.event("joined", site=name, experience=experience, **sizes)
