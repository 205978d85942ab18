"""How attackers and failures stand between the server and the sites."""

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

import server.app
from clients.attacks import attack_of
from clients.attacks.attackers import Attackers
from clients.attacks.plausible import BOAST
from clients.failures import Failing
from clients.guard import content_of
from clients.network import Late, position
from fedretune.errors import UserError
from scenarios.failures import Failures
from server.simulator import simulate, take_identity


def asked(node, kind="train", experience=0, round_=0):
    take_identity()
    told = ConfigRecord({"experience": experience, "round": round_})
    return Message(RecordDict({"position": told}), node, kind)


def answered(messages):
    return [Message(RecordDict(), reply_to=each) for each in messages]


def nodes(replies):
    return [each.metadata.src_node_id for each in replies]


def test_what_is_late_comes_once_with_the_next_round_of_the_same_site():
    late = Late()
    late.hold(answered([asked(1), asked(2)]))
    assert late.due([asked(1, "evaluate"), asked(3)]) == []
    assert nodes(late.due([asked(2), asked(3)])) == [2]
    assert nodes(late.due([asked(1), asked(2)])) == [1]
    assert late.due([asked(1), asked(2)]) == []


def test_a_message_without_a_position_is_about_no_round():
    assert position(Message(RecordDict(), 1, "query")) == (-1, -1)


def test_a_site_that_has_crashed_or_left_is_not_asked():
    failing, reached = Failing(Failures(crash=0.3, leave=0.3), seed=1), []

    def ask(messages):
        reached.extend(nodes(answered(messages)))
        return answered(messages)

    replies = failing([asked(node) for node in range(1, 41)], ask)
    assert sorted(nodes(replies)) == list(range(1, 41))
    assert [each.metadata.src_node_id for each in replies if each.has_content()] == reached
    assert {each.error.code for each in replies if each.has_error()} == {5, 8}


def test_who_is_slow_answers_in_the_next_round_beside_its_answer_to_that():
    failing = Failing(Failures(slow=1.0), seed=1)
    assert failing([asked(1)], answered) == []
    failing._failures = Failures()
    assert nodes(failing([asked(1, round_=1)], answered)) == [1, 1]


def test_the_sites_of_a_real_federation_cannot_be_told_to_attack_or_fail(tmp_path):
    class Elsewhere:
        """A grid that is not the simulation's."""

    def main(grid, context):
        server.app.app(Elsewhere(), context)

    for keys in ({"attack": "nan", "attackers": 1}, {"failures": "crash:0.1"}):
        with pytest.raises(UserError, match="fedretune simulate"):
            simulate(main, None, {"out": str(tmp_path), "name": "it", **keys}, sites=2)
    assert not (tmp_path / "it").exists()


def test_who_boasts_announces_more_in_its_handshake_and_nobody_else_does():
    attack = attack_of("boast")
    site = {"site": {"name": "site-1", "train-examples": [3, 0], "test-examples": [5]}}

    def ask(messages):
        return [Message(content_of({}, site), reply_to=each) for each in messages]

    replies = Attackers(attack, frozenset({2}), seed=1)(
        [Message(RecordDict(), node, "query") for node in (1, 2)], ask
    )
    told = [dict(each.content.config_records["site"]) for each in replies]
    assert [each["train-examples"] for each in told] == [[3, 0], [3 * BOAST, 0]]
    assert [each["test-examples"] for each in told] == [[5], [5]]
