"""Waiting for replies over a network, by a clock that is made up."""

import pytest
from flwr.app import Message, RecordDict
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

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

    def __init__(self, clock, ready, raises=None, refused=()):
        super().__init__(lambda asked: iter(()), {}, lambda messages, ask: [])
        self.clock, self.ready, self.raises, self.refused = clock, ready, raises or {}, refused
        self.sent, self.looks, self.most = {}, 0, 0

    def push_messages(self, messages):
        taken = []
        for message in messages:
            node = message.metadata.dst_node_id
            vars(message.metadata)["_message_id"] = f"id-{node}"
            if node in self.refused:
                taken.append(None)
                continue
            self.sent[f"id-{node}"] = message
            taken.append(f"id-{node}")
        self.most = max(self.most, len(self.sent))
        return taken

    def pull_messages(self, message_ids):
        self.looks += 1
        (message_id,) = message_ids
        message = self.sent[message_id]
        node = message.metadata.dst_node_id
        if self.clock.now < self.ready[node]:
            return []
        self.ready[node] = 1e9
        del self.sent[message_id]
        if node in self.raises:
            raise self.raises[node]
        return [Message(RecordDict(), reply_to=message)]


@pytest.fixture
def distant(monkeypatch):
    """Return a function from when replies are ready, by node, to (grid, what an exchange gives)."""
    take_identity()
    clock = Clock()
    monkeypatch.setattr(server.exchange, "time", clock)

    def begin(ready, raises=None, timeout=60.0, width=9, refused=()):
        grid = Distant(clock, ready, raises, refused)
        messages = ((f"site-{node}", Message(RecordDict(), node, "train")) for node in ready)
        return grid, list(exchange(grid, messages, timeout, width))

    return begin


def answered(found):
    return [reply.metadata.reply_to_message_id for each in found for reply in each.replies]


def test_it_waits_until_all_have_replied_and_no_longer(distant):
    grid, found = distant({1: 0.0, 2: 7.0, 3: 20.0})
    assert answered(found) == ["id-1", "id-2", "id-3"]
    assert 20 <= grid.clock.now <= 20 + LONGEST
    assert grid.looks < 150


def test_it_waits_no_longer_than_the_time_that_there_is(distant):
    grid, found = distant({1: 0.0, 2: 1e9})
    assert answered(found) == ["id-1"]
    assert grid.clock.now == pytest.approx(60.0)


def test_who_is_silent_takes_no_time_of_those_asked_after_it(distant):
    grid, found = distant({1: 1e9, 2: 1e9, 3: 50.0, 4: 59.0})
    assert answered(found) == ["id-3", "id-4"]
    assert grid.clock.now == pytest.approx(60.0)


def test_every_message_has_all_of_the_time_from_when_it_was_sent(distant):
    # The third is sent once one of two places is free, 60 s after the first.
    grid, found = distant({1: 1e9, 2: 10.0, 3: 110.0}, width=2)
    assert answered(found) == ["id-2", "id-3"]
    assert 110 <= grid.clock.now <= 110 + LONGEST


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.integers(1, 9), st.floats(10, 1000))
def test_sites_come_in_their_order_and_no_more_are_under_way_than_may_be(ready, width, timeout):
    take_identity()
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.exchange, "time", clock)
        grid = Distant(clock, dict(enumerate(ready, start=1)))
        names = [f"site-{node}" for node in grid.ready]
        messages = (
            (f"site-{node}", Message(RecordDict(), node, "train")) for node in [*grid.ready]
        )
        found = list(exchange(grid, messages, timeout, width))
    assert [site for each in found for site in each.sent] == names
    assert grid.most <= width or timeout < 100  # what never came stays there
    if timeout >= 100:
        assert all(each.replies for each in found)


def test_a_message_that_the_superlink_does_not_take_is_not_waited_for(distant):
    grid, found = distant({1: 0.0, 2: 1e9, 3: 0.0}, refused=(2,))
    assert [len(each.replies) for each in found] == [1, 0, 1]
    assert grid.clock.now == 0


ERRORS = [ValueError("x"), DecodeError("x"), AttributeError("x"), KeyError("x"), OverflowError("x")]


@pytest.mark.parametrize("error", ERRORS)
def test_a_reply_that_cannot_be_read_takes_no_other_with_it(distant, error):
    grid, found = distant({1: 0.0, 2: 0.0, 3: 0.0}, {2: error})
    assert answered(found) == ["id-1", "id-3"]
    assert [each.unreadable for each in found] == ["", type(error).__name__, ""]
    assert grid.clock.now == 0


def test_a_superlink_that_does_not_answer_is_no_sites_fault(distant):
    with pytest.raises(ConnectionError):
        distant({1: 0.0}, {1: ConnectionError("refused")})
