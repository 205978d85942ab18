"""The attackers of a simulation: some sites' answers to training messages, replaced on the way."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from flwr.app import ConfigRecord, Context, Error, Message

from clients.app import open_site, trained
from clients.attacks.answer import Answer, Attack, CrashError, Scene
from clients.guard import content_of
from clients.network import Ask, Late, position
from fedretune import wire
from fedretune.seeds import derive_seed

ClientCallable = Callable[[Message, Context], Message]

#: The record that tells an attacker's process what to do to its site before it trains.
ORDER = "attack"
#: Flower's code for a ClientApp whose process ended.
CLIENT_APP_CRASHED = 8


class Attackers:
    """A `clients.network.Network` in which some nodes attack.

    Parameters
    ----------
    attack : Attack
    nodes : frozenset of int
        Of the attackers.
    seed : int
        The run's.
    """

    def __init__(self, attack: Attack, nodes: frozenset[int], seed: int) -> None:
        self._attack, self._nodes, self._seed = attack, nodes, seed
        self._late = Late()

    def __call__(self, messages: Sequence[Message], ask: Ask) -> list[Message]:
        """Have all sites answer; return the replies, those of attackers replaced.

        What the server asks at a time is what accomplices know of each other: a group of sites
        (`server.federation.GROUP`), not all of a large federation.
        """
        attacking = [each for each in messages if self._is_attackers(each)]
        if self._attack.at_site:
            for message in attacking:
                message.content[ORDER] = ConfigRecord({"at-site": True})
        honest = dict(zip(map(_node, messages), ask(messages), strict=True))
        answers = {
            _node(message): _answer_of(honest[_node(message)])
            for message in attacking
            if _is_trained(honest[_node(message)])
        }
        replies = self._late.due(messages)
        for message in messages:
            if _node(message) in answers:
                replies += self._replies(message, answers)
            elif _node(message) in self._nodes and message.metadata.message_type == "query":
                replies.append(_announcing(self._attack.announced, message, honest[_node(message)]))
            else:
                replies.append(honest[_node(message)])
        return replies

    def _is_attackers(self, message: Message) -> bool:
        return message.metadata.message_type == "train" and _node(message) in self._nodes

    def _replies(self, message: Message, answers: dict[int, Answer]) -> list[Message]:
        node = _node(message)
        scene = Scene(
            wire.unpack("adaptor", message.content.array_records["adaptor"]),
            answers[node],
            [answers[each] for each in sorted(answers)],
            self._attack.strength,
            np.random.default_rng(derive_seed(self._seed, "attack", node, *position(message))),
        )
        try:
            given = self._attack.answer(scene)
        except CrashError as error:
            return [Message(Error(CLIENT_APP_CRASHED, str(error)), reply_to=message)]
        made = [Message(content_of(each.arrays, each.scalars), reply_to=message) for each in given]
        self._late.hold([reply for reply, each in zip(made, given, strict=True) if each.late])
        return [reply for reply, each in zip(made, given, strict=True) if not each.late]


def attacking(attack: Attack, client_app: ClientCallable) -> ClientCallable:
    """Return `client_app` such that attackers do to their site what the attack says."""

    def app(message: Message, context: Context) -> Message:
        if attack.at_site is None or ORDER not in message.content:
            return client_app(message, context)
        return trained(attack.at_site(open_site(context)), message)

    return app


def _node(message: Message) -> int:
    return int(message.metadata.dst_node_id)


def _is_trained(reply: Message) -> bool:
    return bool(reply.has_content()) and "adaptor" in reply.content.array_records


def _announcing(times: int, message: Message, reply: Message) -> Message:
    """Return a handshake that announces so many times the training examples."""
    if times == 1 or "site" not in reply.content:
        return reply
    site = _answer_of(reply).scalars["site"]
    announced = [times * int(count) for count in cast(list[int], site["train-examples"])]
    told = {"site": {**site, "train-examples": announced}}
    return Message(content_of({}, told), reply_to=message)


def _answer_of(reply: Message) -> Answer:
    content: Any = reply.content
    return Answer(*wire.take_apart(content))
