"""What an audit sees, and that it would see what it is there for."""

import base64
import bz2
import gzip
import json
import lzma
import shutil
import tomllib
import zlib

import numpy as np
import pytest
from flwr.app import MetricRecord
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as Serialized
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.audit import objection
from fedretune.privacy.audit import Canaries, Canary, Index, against_ledger, controls, search_for
from fedretune.privacy.audit.canaries import PIECE
from fedretune.privacy.audit.unwrap import unwrapped
from fedretune.privacy.recorded import recorded
from scenarios import RunConfig
from tests.cli.conftest import fedretune, out, refused, tiny  # noqa: F401
from tests.records import change
from tests.worlds import make_world

WRAPS = {
    "base64": base64.b64encode,
    "hex": lambda data: data.hex().encode(),
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
NOISE = np.random.default_rng(5).bytes(4000)


def canary(seed: int = 1) -> Canary:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
    vector = rng.normal(size=64).astype(np.float16)
    return Canary(f"images/picture-{seed}.png", f"patient-{seed}", rng.bytes(900), pixels, vector)


@settings(max_examples=60, deadline=None)
@given(
    hidden=st.binary(min_size=40, max_size=400),
    wraps=st.lists(st.sampled_from(sorted(WRAPS)), max_size=3),
    at=st.integers(0, 4000),
)
def test_what_is_hidden_behind_up_to_three_encodings_at_any_byte_is_unwrapped(hidden, wraps, at):
    data = hidden
    for how in wraps:
        data = WRAPS[how](data)
    spoilt = NOISE[:at] + data + NOISE[at:]
    middle = hidden[12:-12]  # letters beside a text may look like a part of it
    assert any(middle in content for _, content in unwrapped(spoilt))


@given(data=st.binary(max_size=3000))
def test_no_bytes_make_the_unwrapping_fail(data):
    (how, content), *_ = list(unwrapped(data))
    assert (how, content) == ("raw", data)


@settings(max_examples=50, deadline=None)
@given(places=st.lists(st.integers(0, 2900), max_size=4), seed=st.integers(0, 2**32))
def test_the_search_finds_what_a_plain_search_finds(places, seed):
    rng = np.random.default_rng(seed)
    pieces = {rng.bytes(PIECE): (f"image {n}", "file") for n in range(20)}
    data = bytearray(rng.bytes(3000))
    for place, piece in zip(places, pieces, strict=False):
        data[place : place + PIECE] = piece
    plain = {told for piece, told in pieces.items() if piece in data}
    assert set(Index(Canaries(pieces)).find(bytes(data))) == plain


def test_each_form_is_found_behind_each_encoding_in_a_message():
    found = controls(NOISE, canary())
    assert len(found) == 8 * 9
    assert all(found.values())


def test_a_name_is_found_as_a_word_and_no_other_image_is():
    index = Index(Canaries.of([canary(1)]))
    assert not search_for(index, NOISE + canary(2).file + b"picture-12.png patient-11")
    (hit,) = search_for(index, NOISE + b"\x00patient-1\x00" + NOISE)
    assert (hit.image, hit.form) == ("patient-1", "name")


def test_black_images_and_short_names_are_not_searched_for():
    black = Canary("1.png", "7", bytes(900), np.zeros((32, 32), np.uint8), np.zeros(64, np.float16))
    canaries = Canaries.of([black])
    assert (canaries.pieces, canaries.unsearched) == ({}, 2)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"compression": "int8"},
        {"compression_down": "int8"},
        {"strategy": "regmean"},
        {"averaging": "positives"},
        {"privacy__mechanism": "example", "privacy__noise": 1.0, "privacy__delta": 0.001},
        {"secure_aggregation": True, "norm_bound": 0.0},
        {"failures": "crash:0.3"},
    ],
    ids=lambda values: next(iter(values), "plain"),
)
def test_every_reply_of_a_run_holds_what_may_leave_and_no_byte_more(synthetic_run, values):
    folder, _ = synthetic_run(record_wire=True, train__epochs=1, **values)
    world, pairs = _pairs(folder)
    assert len(pairs) > 10
    for kind, answered in pairs:
        assert objection(world, kind, answered) == ""


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: content.update({"more": MetricRecord({"age": 61})}), "unexpected"),
        (lambda content: content["metrics"].update({"age": 61}), "unexpected"),
        (lambda content: change(content, "adaptor", lambda _, x: x.astype(np.float16)), "float16"),
        (lambda content: change(content, "adaptor", lambda _, x: x[None]), "shape"),
    ],
    ids=["a record more", "a number more", "another dtype", "another shape"],
)
def test_a_reply_with_something_else_in_it_is_objected_to(synthetic_run, spoil, why):
    world, pairs = _pairs(synthetic_run(record_wire=True, train__epochs=1)[0])
    kind, answered = next(each for each in pairs if each[0] == "train")
    content = recorddict_from_proto(Serialized.FromString(answered))
    spoil(content)
    spoilt = recorddict_to_proto(content).SerializeToString(deterministic=True)
    assert why in objection(world, kind, spoilt)


def test_bytes_behind_or_beside_the_values_are_objected_to(synthetic_run):
    world, pairs = _pairs(synthetic_run(record_wire=True, train__epochs=1)[0])
    kind, answered = next(each for each in pairs if each[0] == "train")
    unknown_field = b"\xfa\x07\x05hello"  # number 127, which Flower's reader passes over
    assert "bytes are not" in objection(world, kind, answered + unknown_field)
    assert "cannot be read" in objection(world, kind, answered[:-3])
    assert "no reply" in objection(world, "images", answered)


def test_a_message_that_the_ledger_counts_and_nobody_recorded_is_an_objection(synthetic_run):
    folder, _ = synthetic_run(record_wire=True, train__epochs=1)
    rows = [
        {"site": "site-1", "experience": "0", "round": "0", "kind": "train", "bytes": "77"}
        | {"direction": way}
        for way in ("up", "down")
    ]
    (told,) = against_ledger(recorded(folder), rows)
    assert "77 bytes from site-1" in told


def test_the_command_passes_a_sound_run_and_fails_one_with_a_vector_in_it(
    fedretune,  # noqa: F811
    refused,  # noqa: F811
    tiny,  # noqa: F811
    out,  # noqa: F811
):
    run = out / "it"
    given = [*tiny.options(out), "--set", "record-wire=true"]
    assert fedretune("simulate", *given).code == 0
    told = json.loads(fedretune("privacy", "audit", run, "--json").out)
    assert told["verdict"] == "pass"
    assert told["images"] == len(tiny.rows())
    assert told["controls"]
    assert all(told["controls"].values())
    assert {each["record"] for each in told["left"] if each["kind"] == "train"} == {
        "adaptor",
        "metrics",
    }
    assert "This run passes" in (run / "audit.html").read_text()
    _plant_vector(run)
    shown = fedretune("privacy", "audit", run)
    assert shown.code == 1
    assert "vector as float32" in shown.err
    assert json.loads((run / "audit.json").read_text())["verdict"] == "fail"
    shutil.rmtree(run / "wire")
    assert "record-wire=true" in refused("privacy", "audit", run)


def _plant_vector(run):
    """Put an image's vector into the place of a row of weights, as a site's own code could."""
    from fedretune.cli.app_folder import find_app
    from fedretune.cli.privacy_world import world_of

    world = world_of(find_app(), run)
    vector = world.embeddings.take([3])[0]
    message = next(m for m in recorded(run) if (m.kind, m.direction) == ("train", "up"))
    content = recorddict_from_proto(Serialized.FromString(message.content()))

    def planted(name, array):
        if array.ndim == 2 and array.shape[1] == len(vector):
            array = array.copy()
            array[1] = vector
        return array

    change(content, "adaptor", planted)
    message.path.write_bytes(recorddict_to_proto(content).SerializeToString(deterministic=True))


def _pairs(folder):
    """Return the world of a synthetic run, and of each reply its kind and its bytes."""
    tables = tomllib.loads((folder / "config.toml").read_text())
    config = RunConfig.from_flat(tables["config"])
    up = [each for each in recorded(folder) if each.direction == "up"]
    return make_world(config, config.sites), [(each.kind, each.content()) for each in up]
