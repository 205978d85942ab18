"""What a site answers to a server that does not keep to the steps of a secure sum."""

from functools import lru_cache

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

import clients.app
from fedretune.adaptors import build, to_arrays
from scenarios import RunConfig
from server.simulator import take_identity
from tests.records import arrays_of, packed
from tests.worlds import make_world

SITES = 4
NAMES = [f"site-{number}" for number in range(1, SITES + 1)]


class Server:
    """Sends what it likes to the sites of a run."""

    def __init__(self, folder, secure: bool = True) -> None:
        values = {"out": str(folder), "sites": SITES, "experiences": 1, "rounds": 2}
        self.config = {**values, "secure-aggregation": secure, "train.epochs": 1}
        world = clients.app.open_world(RunConfig.from_flat(self.config), SITES)
        self.adaptor = packed(to_arrays(build(world.adaptor, 0)))

    def ask(self, site: str, kind: str, of: str = "train", model: str = "adapted", **records):
        """Return a site's answer to a message of a kind, about the sum of another kind."""
        take_identity()
        content = RecordDict({"position": ConfigRecord({"experience": 0, "round": 0, "run": "r"})})
        if of:
            content["sum"] = ConfigRecord({"kind": of, "model": model})
        for name, record in records.items():
            content[name] = ConfigRecord(record) if isinstance(record, dict) else record
        place = NAMES.index(site)
        node = {"partition-id": place, "num-partitions": SITES}
        context = Context(1, place + 1, node, RecordDict(), dict(self.config))
        return clients.app.app(Message(content, place + 1, kind), context).content

    def shared(self, of: str = "train", model: str = "adapted") -> dict[str, dict[str, list[str]]]:
        """Go through the first two steps of a sum; return for each site the others' boxes."""
        told = {site: self.ask(site, "query.keys", of, model)["keys"] for site in NAMES}
        peers = {"sites": NAMES, **{key: [told[s][key] for s in NAMES] for key in ("mask", "seal")}}
        made = {s: self.ask(s, "query.shares", of, model, peers=peers)["shares"] for s in NAMES}
        boxes = {s: dict(zip(each["to"], each["boxes"], strict=True)) for s, each in made.items()}
        return {
            site: {"sites": (others := [s for s in NAMES if s != site])}
            | {"boxes": [boxes[other][site] for other in others]}
            for site in NAMES
        }


def refusal(content: RecordDict) -> str:
    assert list(content) == ["refusal"]  # and so nothing else
    return str(content["refusal"]["reason"])


@pytest.fixture
def server(tmp_path, monkeypatch) -> Server:
    world_of = lru_cache(lambda config, sites: make_world(config, sites))
    monkeypatch.setattr(clients.app, "open_world", world_of)
    return Server(tmp_path)


@pytest.mark.parametrize("kind", ["train", "evaluate.coarse", "evaluate.histograms"])
def test_a_message_that_is_part_of_no_sum_gets_nothing(server, kind):
    edges = packed({"edges": arrays_of({"adaptor": server.adaptor}, "adaptor")["log_scale"]})
    refusal(server.ask("site-1", kind, of="", adaptor=server.adaptor, edges=edges))
    refusal(server.ask("site-1", kind, of=kind, adaptor=server.adaptor, edges=edges))
    none = {"sites": [], "boxes": []}
    refusal(server.ask("site-1", kind, of=kind, adaptor=server.adaptor, edges=edges, boxes=none))


def test_a_site_masks_one_vector_in_a_sum_whatever_the_second_would_be_of(server):
    """With two of one mask, the difference would be that of the vectors."""
    boxes = server.shared()["site-1"]
    first = server.ask("site-1", "train", adaptor=server.adaptor, boxes=boxes)
    assert list(first) == ["masked"]
    again = server.ask("site-1", "train", adaptor=server.adaptor, boxes=boxes)
    assert "a step out of turn" in refusal(again)


def test_a_site_tells_its_shares_once(server):
    boxes = server.shared()
    for site in NAMES:
        server.ask(site, "train", adaptor=server.adaptor, boxes=boxes[site])
    there = {"sites": NAMES}
    assert list(server.ask("site-1", "query.unmask", survivors=there)) == ["told"]
    again = server.ask("site-1", "query.unmask", survivors={"sites": NAMES[:3]})
    assert "not begun, or is over" in refusal(again)


def test_a_site_does_not_unmask_before_it_has_sent_its_vector(server):
    server.shared()
    early = server.ask("site-1", "query.unmask", survivors={"sites": NAMES})
    assert "a step out of turn" in refusal(early)


@pytest.mark.parametrize(
    ("of", "model"),
    [("evaluate.coarse", "adapted"), ("train", "zero-shot")],
    ids=["of-another-kind", "of-another-model"],
)
def test_a_sum_is_of_what_it_says_that_it_is_of(server, of, model):
    """Else a place in a run could be summed again under another name."""
    boxes = server.shared(of, model)["site-1"]
    answer = server.ask("site-1", "train", of, model, adaptor=server.adaptor, boxes=boxes)
    assert "another sum than the message is about" in refusal(answer)


@pytest.mark.parametrize(("of", "model"), [("query", "adapted"), ("train", "mine"), ("x", "y")])
def test_there_are_no_other_sums(server, of, model):
    answer = server.ask("site-1", "query.keys", of, model)
    assert "something else than updates or counts" in refusal(answer)


def test_keys_that_are_asked_for_again_make_what_was_said_before_useless(server):
    boxes = server.shared()["site-1"]
    server.ask("site-1", "query.keys")
    answer = server.ask("site-1", "train", adaptor=server.adaptor, boxes=boxes)
    assert "a step out of turn" in refusal(answer)


def test_a_step_without_its_record_or_with_another_thing_in_it_gets_nothing(server):
    server.ask("site-1", "query.keys")
    for peers in ({}, {"sites": "site-1"}, {"sites": NAMES, "mask": ["zz"] * 4, "seal": [""] * 4}):
        refusal(server.ask("site-1", "query.shares", peers=peers))
    refusal(server.ask("site-1", "query.shares"))


def test_in_a_plain_run_there_are_no_secure_sums(tmp_path, server):
    plain = Server(tmp_path, secure=False)
    assert "a secure sum in a run without it" in refusal(plain.ask("site-1", "query.keys"))
