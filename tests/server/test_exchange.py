"""Waiting for replies over a network, by a clock that is made up."""

import pytest
from flwr.app import Message, RecordDict
from google.protobuf.message import DecodeError

import server.exchange
from server.exchange import LONGEST, exchange
from server.simulator import InProcessGrid, take_identity


class Clock:
    """Stands where the module `time` stands."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


class Distant(InProcessGrid):
    """A SuperLink: replies are there from some moment on, once; reading some of them raises."""

    at_once = False

    def __init__(self, clock, ready, raises=None):
        super().__init__(lambda asked: iter(()), {}, lambda messages, ask: [])
        self.clock, self.ready, self.raises = clock, ready, raises or {}
        self.sent, self.looks = {}, 0

    def push_messages(self, messages):
        for message in messages:
            node = message.metadata.dst_node_id
            vars(message.metadata)["_message_id"] = f"id-{node}"
            self.sent[f"id-{node}"] = message
        return [f"id-{message.metadata.dst_node_id}" for message in messages] + [None]

    def pull_messages(self, message_ids):
        self.looks += 1
        (message_id,) = message_ids
        message = self.sent[message_id]
        node = message.metadata.dst_node_id
        if self.clock.now < self.ready[node]:
            return []
        self.ready[node] = 1e9
        if node in self.raises:
            raise self.raises[node]
        return [Message(RecordDict(), reply_to=message)]


@pytest.fixture
def distant(monkeypatch):
    """Return a function from when replies are ready, by node, to (grid, what an exchange gives)."""
    take_identity()
    clock = Clock()
    monkeypatch.setattr(server.exchange, "time", clock)

    def begin(ready, raises=None, timeout=60.0):
        grid = Distant(clock, ready, raises)
        messages = [Message(RecordDict(), node, "train") for node in ready]
        return grid, exchange(grid, messages, timeout)

    return begin


def answered(found):
    return [reply.metadata.reply_to_message_id for reply in found.replies]


def test_it_waits_until_all_have_replied_and_no_longer(distant):
    grid, found = distant({1: 0.0, 2: 7.0, 3: 20.0})
    assert answered(found) == ["id-1", "id-2", "id-3"]
    assert 20 <= grid.clock.now <= 20 + LONGEST
    assert grid.looks < 150


def test_it_waits_no_longer_than_the_time_that_there_is(distant):
    grid, found = distant({1: 0.0, 2: 1e9})
    assert answered(found) == ["id-1"]
    assert grid.clock.now == pytest.approx(60.0)


ERRORS = [ValueError("x"), DecodeError("x"), AttributeError("x"), KeyError("x"), OverflowError("x")]


@pytest.mark.parametrize("error", ERRORS)
def test_a_reply_that_cannot_be_read_takes_no_other_with_it(distant, error):
    grid, found = distant({1: 0.0, 2: 0.0, 3: 0.0}, {2: error})
    assert answered(found) == ["id-1", "id-3"]
    assert found.unreadable == {"id-2": type(error).__name__}
    assert grid.clock.now == 0


def test_a_superlink_that_does_not_answer_is_no_sites_fault(distant):
    with pytest.raises(ConnectionError):
        distant({1: 0.0}, {1: ConnectionError("refused")})
