"""The rows of many sites: who trains on what, on either side."""

import math
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import clients.site
from fedretune.bench import Options
from fedretune.bench.frame import Case
from fedretune.bench.rows import many_sites, round_cost, secure_round, server_memory
from fedretune.bench.vectors import DIM, FINDINGS, MadeVectors, in_place_of, opened
from fedretune.cli.app_folder import find_app
from fedretune.training import TrainingResult
from tests.bench.conftest import APP, TINY

IMAGES = round(TINY.many * 112.12)


@pytest.fixture
def visits(monkeypatch: pytest.MonkeyPatch) -> list[TrainingResult]:
    """Return a list that every visit of a site is added to."""
    found, train = [], clients.site.train

    def counting(*arguments: object) -> TrainingResult:
        found.append(train(*arguments))
        return found[-1]

    monkeypatch.setattr(clients.site, "train", counting)
    return found


def measured(case: Case) -> None:
    assert case.b is not None
    for side in (case.a, case.b):
        assert side.measure().value > 0


def test_made_vectors_are_a_map_and_a_manifest_of_sites_of_equal_size(tmp_path: Path) -> None:
    made = MadeVectors(tmp_path, 50)
    table = made.manifest(5).table
    training = table[table["split"] == "train"]
    assert training["site"].value_counts().to_dict() == {f"site-{n:04}": 10 for n in range(5)}
    assert table["patient"].is_unique
    assert isinstance(made.embeddings.vectors, np.memmap)
    assert made.embeddings.take([0, 49]).shape == (2, DIM)
    assert made.labels.shape == (len(table), FINDINGS)
    assert len(np.unique(made.embeddings.vectors[:, 0])) > 100


def test_a_world_is_lent_and_a_name_given_back_even_after_a_fault() -> None:
    import clients.app

    before, world = clients.app.open_world, object()
    with opened(find_app(APP), world):
        assert clients.app.open_world(None, 3) is world
    with pytest.raises(KeyError), in_place_of(clients.app, "open_world", None):
        raise KeyError
    assert clients.app.open_world is before


def test_a_tenth_of_the_sites_and_one_central_epoch_train_on_the_same_images(
    options: Options, visits: list[TrainingResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, asked = many_sites.drawn_sites, list[list[str]]()
    monkeypatch.setattr(
        many_sites, "drawn_sites", lambda *world: asked.append(drawn(*world)) or asked[-1]
    )
    trained, train = list[str](), clients.site.Site.train
    monkeypatch.setattr(
        clients.site.Site,
        "train",
        lambda self, *given: trained.append(self.name) or train(self, *given),
    )
    case = many_sites.row(options)
    measured(case)
    assert asked == [trained]
    facts = case.facts
    assert facts["sites_asked"] == len(visits) == TINY.many // 10
    assert facts["images"] == sum(visit.examples for visit in visits)
    assert facts["steps"] == sum(visit.steps for visit in visits)
    assert facts["floor_steps"] == math.ceil(facts["images"] / 64)
    assert facts["peak_mib_beyond_vectors"] > facts["peak_mib_of_the_row"] > 0


def test_a_round_has_the_same_images_with_many_sites_and_with_few(
    options: Options, visits: list[TrainingResult]
) -> None:
    measured(round_cost.row(options))
    many, few = visits[: TINY.many], visits[TINY.many :]
    assert len(few) == round_cost.FEW
    assert sum(visit.examples for visit in many) == sum(visit.examples for visit in few) == IMAGES


def test_the_server_holds_the_replies_of_one_group_and_no_more() -> None:
    dim = 64
    reply = 4 * (2 * (4 * dim**2 + 3 * dim) + 1)
    server_memory.memory_of(APP, 1, dim)  # what is imported only once
    few, group, many = (allocated(count, dim) for count in (2, 32, 50))
    assert 29 * reply < group - few < 40 * reply
    assert many - group < 5 * reply


def allocated(replies: int, dim: int) -> int:
    """Return the peak of what Python and NumPy allocate while replies are folded, in bytes."""
    tracemalloc.start()
    try:
        server_memory.memory_of(APP, replies, dim)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a peak cannot be reset")
def test_the_servers_memory_is_that_of_a_process_of_its_own(options: Options) -> None:
    case = server_memory.row(options)
    assert case.b is not None
    many, few = case.a.measure().value, case.b.measure().value
    assert few > 2 * 8.0  # two adaptors at the very least, of 8 MB each
    assert many < few + 16 * 8.0  # two groups of eight replies, however many there are


def test_a_secure_round_is_held_against_a_plain_one_and_both_tell_their_bytes(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secure_round, "DIM", 8)
    case = secure_round.row(options)
    measured(case)
    for way in ("up", "down"):
        secure, plain = (case.facts[f"{kind}_bytes_{way}_per_site"] for kind in ("secure", "plain"))
        assert 1 < secure / plain < 10
