"""The guard, called as Flower calls it: whatever a handler returns, only the schema leaves."""

import logging

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import recorddict_to_proto

from clients.guard import content_of, guarded
from clients.site import Site
from fedretune.adaptors import build, to_arrays
from fedretune.errors import UserError
from scenarios import RunConfig
from server.simulator import take_identity
from tests.records import arrays_of, packed
from tests.worlds import make_world

SECRET = b"patient-0815"


@pytest.fixture(scope="module")
def site():
    return Site("site-1", make_world(RunConfig.from_flat({"experiences": 2}), 2))


def ask(site, handler, message_type="train"):
    app = ClientApp(mods=[guarded(lambda context: site)])
    {"train": app.train, "query": app.query}[message_type]()(handler)
    take_identity()
    content = RecordDict({"position": ConfigRecord({"experience": 0, "round": 0})})
    context = Context(1, 1, {}, RecordDict(), {})
    return app(Message(content, 1, message_type), context)


def refusal(reply: Message) -> str:
    assert list(reply.content) == ["refusal"]
    return str(reply.content["refusal"]["reason"])


def sound(site):
    arrays = to_arrays(build(site.world.adaptor, 0))
    metrics = {"experience": 0, "round": 0, "num-examples": 5, "loss": 0.5}
    return content_of({"adaptor": arrays}, {"metrics": metrics})


def test_a_sound_reply_leaves_as_it_is(site):
    reply = ask(site, lambda message, context: Message(sound(site), reply_to=message))
    assert recorddict_to_proto(reply.content) == recorddict_to_proto(sound(site))


def _images(content):
    content["images"] = packed({"x": np.zeros((2, 8), np.float32)})


def _hidden_bytes(content):
    array = next(iter(content["adaptor"].values()))
    array.data = array.data + SECRET


def _other_header(content):
    array = next(iter(content["adaptor"].values()))
    array.shape = [7]


def _numpys_header(content):
    arrays = arrays_of(content, "adaptor")
    content["adaptor"] = ArrayRecord({name: Array(each) for name, each in arrays.items()})


def _text(content):
    content["notes"] = ConfigRecord({"note": SECRET.decode()})


def _bytes(content):
    content["notes"] = ConfigRecord({"note": SECRET})


@pytest.mark.parametrize(
    "spoil", [_images, _hidden_bytes, _other_header, _numpys_header, _text, _bytes]
)
def test_a_reply_with_anything_else_becomes_a_refusal(site, spoil):
    def handler(message, context):
        content = sound(site)
        spoil(content)
        return Message(content, reply_to=message)

    reply = ask(site, handler)
    assert "guard" in refusal(reply)
    assert SECRET not in recorddict_to_proto(reply.content).SerializeToString()


def test_an_exception_leaves_without_its_text_and_is_in_the_sites_log(site, caplog):
    def handler(message, context):
        raise RuntimeError(SECRET.decode())

    with caplog.at_level(logging.ERROR):
        reply = ask(site, handler)
    assert SECRET.decode() not in refusal(reply)
    assert SECRET.decode() in caplog.text


def test_a_user_error_leaves_as_its_public_half(site):
    def handler(message, context):
        raise UserError("file /data/p0815.png is torn", public="an image cannot be read")

    assert refusal(ask(site, handler)) == "an image cannot be read"


def test_an_error_reply_of_the_handlers_own_does_not_leave(site):
    def handler(message, context):
        return Message(Error(1, SECRET.decode()), reply_to=message)

    assert SECRET.decode() not in refusal(ask(site, handler))


def test_a_reply_of_another_kind_than_was_asked_for_does_not_leave(site):
    def handler(message, context):
        return Message(sound(site), reply_to=message)

    assert "unexpected record" in refusal(ask(site, handler, "query"))
