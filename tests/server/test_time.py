"""Late, silent, repeated, returned: what time does to a round, by a clock that is made up."""

from dataclasses import dataclass, field
from functools import partial

import pandas as pd
import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict

import server.federation
from fedretune import wire
from fedretune.errors import UserError
from server.federation import GROUP, LEEWAY, Federation
from server.folder import RunFolder
from server.plausible import Cohort
from server.simulator import InProcessGrid, take_identity

SCHEMA = wire.Schema(scalars={"metrics": {"experience": int, "round": int, "num-examples": int}})
TIMEOUT = 60.0


@dataclass
class Clock:
    """Stands where the module `time` stands; sleeping takes no time of ours."""

    now: float = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@dataclass
class Hospitals:
    """Sites by node: who is there, who answers, and what is on its way."""

    clock: Clock
    names: dict[int, str]
    silent: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    repeating: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    appears: dict[int, float] = field(default_factory=dict)
    lives: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    _held: list[Message] = field(default_factory=list)

    def nodes(self):
        return [n for n in self.names if self.appears.get(n, 0.0) <= self.clock.now]

    def send_and_receive(self, messages, *, timeout):
        """Answer as Flower does: until all have, or until the timeout."""
        replies, self._held = self._held, []
        missing = False
        for number, message in enumerate(messages):
            vars(message.metadata)["_message_id"] = f"{self.clock.now}/{number}"
            node = message.metadata.dst_node_id
            self.lives.append(message.metadata.ttl)
            missing |= node in self.silent
            if node in self.gone:
                replies.append(Message(Error(5, "gone"), reply_to=message))
            elif node not in self.silent:
                answer = self.answer(message)
                (self._held if node in self.late else replies).append(answer)
                missing |= node in self.late
                if node in self.repeating:
                    replies.append(self.answer(message))
        self.waited.append(timeout if missing else 1.0)
        self.clock.now += self.waited[-1]
        return replies

    def answer(self, message):
        """Return a site's reply, whatever it was asked."""
        if message.metadata.message_type == "query":
            return Message(handshake(self.names[message.metadata.dst_node_id]), reply_to=message)
        experience = int(message.metadata.group_id)
        metrics = {"experience": experience, "round": 0, "num-examples": 5}
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)


def handshake(name, **changes):
    site = {"name": name, "version": "1", "backbone": "b", "prompts": "p", "adaptor": "a"}
    site |= {"dim": 4, "findings": ["Edema"], "train-examples": [5, 5, 5], "test-examples": [3]}
    return RecordDict({"site": ConfigRecord({**site, **changes})})


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function from sites by node to (hospitals, federation)."""
    take_identity()
    clock = Clock()
    monkeypatch.setattr(server.federation, "time", clock)
    folder = RunFolder.create(tmp_path, "run", {})

    def begin(names, patience=3, **how):
        hospitals = Hospitals(clock, names, **how)
        grid = InProcessGrid(lambda asked: iter(()), {}, lambda messages, ask: [])
        monkeypatch.setattr(grid, "get_node_ids", hospitals.nodes)
        monkeypatch.setattr(grid, "send_and_receive", hospitals.send_and_receive)
        return hospitals, Federation(grid, folder, TIMEOUT, patience, partial(Cohort, 0.0, 1))

    yield begin
    folder.close()


def asked(federation, experience=0):
    """Ask all who are present for training in the first round; return who answered."""
    present = federation.present(experience)
    replies = federation.ask("train", present, lambda _: RecordDict(), SCHEMA, experience, 0)
    answered = []
    for site, _ in replies:
        federation.note(site, experience, 0, "trained", "")
        answered.append(site)
    return answered


def rows(federation, *statuses):
    table = pd.read_csv(federation.folder.path / "sites.csv", keep_default_na=False)
    return table[table["status"].isin(statuses)]


def test_a_reply_to_an_older_message_is_dropped_and_told(make):
    hospitals, federation = make({1: "a", 2: "b"})
    federation.gather(2)
    hospitals.late = {2}
    assert asked(federation) == ["a"]
    hospitals.late = set()
    assert asked(federation) == ["a", "b"]
    told = rows(federation, "silent", "late")[["site", "status", "reason"]].values.tolist()
    assert told == [
        ["b", "silent", "no reply within 60 s"],
        ["b", "late", "dropped: 1 to no message of this round"],
    ]


def test_a_second_reply_is_dropped_and_told(make):
    hospitals, federation = make({1: "a", 2: "b"})
    federation.gather(2)
    hospitals.repeating = {1}
    assert asked(federation) == ["a", "b"]
    assert rows(federation, "repeated")[["site", "reason"]].values.tolist() == [
        ["a", "dropped: 1 after the first reply"]
    ]


def test_a_message_is_no_work_any_more_when_its_round_is_long_over(make):
    hospitals, federation = make({1: "a"})
    federation.gather(1)
    assert hospitals.lives == [TIMEOUT + LEEWAY]


def test_a_node_that_is_gone_costs_no_wait_and_one_that_hangs_the_deadline_a_few_times(make):
    hospitals, federation = make({1: "a", 2: "b", 3: "c"}, patience=2)
    federation.gather(3)
    hospitals.gone, hospitals.silent, hospitals.waited = {2}, {3}, []
    answers = [asked(federation, experience) for experience in (0, 0, 0, 0, 1, 1, 1)]
    assert answers == [["a"]] * 7
    # Twice, then once in each experience.
    assert hospitals.waited == [TIMEOUT, TIMEOUT, 1, 1, TIMEOUT, 1, 1]
    assert set(rows(federation, "silent").query("site == 'b'")["reason"]) == {"its node is gone"}
    hospitals.gone = hospitals.silent = set()
    assert asked(federation, 1) == ["a"]
    assert asked(federation, 2) == ["a", "b", "c"]


def test_the_wait_for_missing_sites_ends_and_says_how_many_are_missing(make):
    hospitals, federation = make({1: "a", 2: "b", 3: "c"}, appears={3: 1e9})
    with pytest.raises(UserError, match="1 of 3 sites are missing after 60 s: start") as error:
        federation.gather(3)
    assert error.value.exit_code == 2
    assert TIMEOUT < hospitals.clock.now < TIMEOUT + 2


def test_a_site_that_comes_within_the_time_is_waited_for(make):
    hospitals, federation = make({1: "a", 2: "b"}, appears={2: 30.0})
    federation.gather(2)
    assert sorted(federation.members) == ["a", "b"]
    assert 30 <= hospitals.clock.now < 32


def test_without_a_number_of_sites_and_without_any_every_site_is_missing(make):
    _, federation = make({})
    with pytest.raises(UserError, match="Every site is missing after 60 s"):
        federation.gather(0)


def test_a_resumed_run_names_the_sites_that_are_missing(make):
    _, federation = make({1: "a", 2: "b", 3: "c"})
    federation.gather(3)
    _, resumed = make({5: "b"})
    with pytest.raises(UserError, match=r"2 of 3 sites are missing .*\(of those before: a, c\)"):
        resumed.gather(3)


def test_a_new_site_may_join_when_an_experience_begins(make):
    hospitals, federation = make({1: "a", 2: "b"}, appears={2: 100.0})
    terms = federation.gather(1)
    federation.welcome(terms, 0)
    assert federation.present(0) == ["a"]
    hospitals.clock.now = 100.0
    hospitals.waited = []
    federation.welcome(terms, 1)
    assert federation.present(1) == ["a", "b"]
    federation.welcome(terms, 2)
    assert len(hospitals.waited) == 1  # nobody is asked twice who he is


def test_a_site_that_comes_back_as_another_node_takes_its_place(make):
    hospitals, federation = make({1: "a", 2: "b"})
    terms = federation.gather(2)
    hospitals.names = {1: "a", 3: "b"}
    federation.welcome(terms, 1)
    assert {name: member.node for name, member in federation.members.items()} == {"a": 1, "b": 3}


def test_a_second_node_of_the_same_name_and_one_of_other_terms_are_told_no(make):
    hospitals, federation = make({1: "a"})
    terms = federation.gather(1)
    hospitals.names = {1: "a", 2: "a", 3: "c"}
    answer = hospitals.answer

    def odd(message):
        if message.metadata.dst_node_id == 3:
            return Message(handshake("c", dim=5), reply_to=message)
        return answer(message)

    hospitals.answer = odd
    federation.welcome(terms, 1)
    assert list(federation.members) == ["a"]
    assert rows(federation, "aside")["reason"].tolist() == [
        "another node has the same name",
        "dim is 5, not 4",
    ]


NAMES = ["", " a", "pooled", "@start/a", "a\nb", "x" * 101, "\x1b[31m", "\u202e"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_would_mean_something_else_is_told_no(make, name):
    _, federation = make({1: "a", 2: name})
    federation.gather(2)
    assert list(federation.members) == ["a"]
    assert rows(federation, "aside")["site"].tolist() == ["node 2"]


@pytest.mark.parametrize("count", [-1, 2**50])
def test_a_number_of_images_that_cannot_be_is_told_no(make, count):
    hospitals, federation = make({1: "a", 2: "b"})
    hospitals.answer = lambda message: Message(
        handshake("ab"[message.metadata.dst_node_id - 1], **{"test-examples": [count]})
        if message.metadata.dst_node_id == 2
        else handshake("a"),
        reply_to=message,
    )
    federation.gather(2)
    assert list(federation.members) == ["a"]


def test_each_group_of_sites_has_the_deadline_to_itself(make):
    count = GROUP + 3
    hospitals, federation = make({n: f"site-{n:03}" for n in range(1, count + 1)})
    federation.gather(count)
    hospitals.waited, hospitals.silent = [], {1, count}
    assert len(asked(federation)) == count - 2
    assert hospitals.waited == [TIMEOUT, TIMEOUT]
