"""What is hashed and decoded ahead of the encoder: in order, and never much."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedretune.embeddings import ahead
from fedretune.embeddings.ahead import Prepared
from fedretune.hashing import file_digest
from tests.embeddings.test_embed_images import make_manifest


def ready(place: int) -> Prepared:
    return Prepared(place, bytes(32), torch.empty(0))


@given(places=st.lists(st.integers(0, 999), max_size=60), size=st.integers(1, 9))
def test_batches_keep_the_order_and_only_the_last_is_short(places: list[int], size: int) -> None:
    found = [[image.place for image in batch] for batch in ahead.batches(ready, iter(places), size)]
    assert [place for batch in found for place in batch] == places
    assert all(len(batch) == size for batch in found[:-1])
    assert all(found)


def test_no_more_than_two_batches_wait_whatever_the_number_of_images() -> None:
    taken = 0

    def places() -> Iterator[int]:
        nonlocal taken
        for place in range(10_000):
            taken += 1
            yield place

    for number, batch in enumerate(ahead.batches(ready, places(), 8), start=1):
        assert len(batch) == 8
        assert taken - 8 * number <= 16
        if number == 50:
            break


def test_an_image_that_fails_is_raised_after_the_batches_before_it() -> None:
    def fails(place: int) -> Prepared:
        if place == 5:
            raise RuntimeError("broken")
        return ready(place)

    batches = ahead.batches(fails, iter(range(9)), 2)
    assert [image.place for image in next(batches)] == [0, 1]
    assert [image.place for image in next(batches)] == [2, 3]
    with pytest.raises(RuntimeError, match="broken"):
        next(batches)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_digests_come_in_chunks_of_the_rows_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(ahead, "_CHUNK", 3)
    manifest = make_manifest(tmp_path, 10)
    rows = np.arange(count)[::-1]
    chunks = list(ahead.digests(manifest, rows))
    assert [start for start, _ in chunks] == list(range(0, count, 3))
    found = [digest for _, chunk in chunks for digest in chunk]
    assert found == [file_digest(manifest.images[row]) for row in rows]


def test_no_rows_have_no_digests(tmp_path: Path) -> None:
    assert list(ahead.digests(make_manifest(tmp_path, 1), np.arange(0))) == []
