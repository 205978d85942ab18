"""The store of vectors: what is on the disk after a kill, a race, a tail."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedretune.embeddings.store import VectorStore
from fedretune.errors import UserError

DIM = 4


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def vector(number: int) -> NDArray[np.float16]:
    return np.full(DIM, number, dtype=np.float16)


def add(store: VectorStore, *numbers: int) -> list[int]:
    """Add rows; return the numbers that were encoded for it."""
    encoded: list[int] = []

    def encode(positions: list[int]) -> NDArray[np.float16]:
        encoded.extend(numbers[position] for position in positions)
        return np.stack([vector(numbers[position]) for position in positions])

    assert store.add([digest(number) for number in numbers], encode) == len(encoded)
    return encoded


def check(store: VectorStore, numbers: set[int]) -> None:
    index = store.index()
    assert set(index) == {digest(number) for number in numbers}
    assert len(store) == len(numbers)
    for number in numbers:
        np.testing.assert_array_equal(store.vectors()[index[digest(number)]], vector(number))


def test_rows_are_found_by_digest_by_every_reader(tmp_path: Path) -> None:
    store = VectorStore(tmp_path / "store", DIM)
    assert add(store, 3, 1, 2) == [3, 1, 2]
    check(store, {1, 2, 3})
    check(VectorStore(tmp_path / "store", DIM), {1, 2, 3})


def test_what_is_stored_is_not_encoded_again(tmp_path: Path) -> None:
    one, two = (VectorStore(tmp_path / "store", DIM) for _ in range(2))
    assert add(one, 1, 2) == [1, 2]
    assert add(two, 2, 3, 3, 1) == [3]
    check(one, {1, 2, 3})


def test_an_encoder_that_fails_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    store = VectorStore(tmp_path / "store", DIM)
    add(store, 1)

    def fail(_: list[int]) -> NDArray[np.float16]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        store.add([digest(2)], fail)
    check(store, {1})
    assert add(store, 2) == [2]


@given(
    tails=st.tuples(st.integers(0, 40), st.integers(0, 100)),
    numbers=st.lists(st.integers(0, 20), min_size=1, unique=True),
)
def test_tails_of_a_killed_writer_are_cut_off(
    tmp_path_factory: pytest.TempPathFactory, tails: tuple[int, int], numbers: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    add(VectorStore(folder, DIM), 100, 101)
    # A writer adds whole vectors before it adds a digest, so only one of the files can be ahead.
    name, size = ("vectors.f16", tails[0]) if tails[0] else ("digests.bin", tails[1])
    with (folder / name).open("ab") as file:
        file.write(b"\xff" * size)
    store = VectorStore(folder, DIM)
    check(store, {100, 101})
    add(store, *numbers)
    check(store, {100, 101, *numbers})
    check(VectorStore(folder, DIM), {100, 101, *numbers})


WRITER = """
import sys
from pathlib import Path
from fedretune.embeddings.store import VectorStore
from tests.embeddings.test_vector_store import add
store = VectorStore(Path(sys.argv[1]), 4)
print(sum(len(add(store, *range(start, start + 5))) for start in range(0, 200, 5)))
"""


def test_processes_that_write_at_once_store_and_encode_each_row_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "store")]
    root = str(Path(__file__).parents[2])
    writers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(3)
    ]
    encoded = [int(writer.communicate()[0]) for writer in writers]
    assert sum(encoded) == 200
    check(VectorStore(tmp_path / "store", DIM), set(range(200)))


def test_a_folder_that_cannot_be_written_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Cannot write .*store.*FEDRETUNE_CACHE"):
        VectorStore(tmp_path / "file" / "store", DIM)
