"""Remembered digests of files."""

import hashlib
import os
from pathlib import Path

import pytest

from fedretune import hashing
from fedretune.hashing import file_digest, file_digests


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []
    read = hashing._read_digest
    monkeypatch.setattr(hashing, "_read_digest", lambda path: seen.append(path) or read(path))
    return seen


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files of this very moment count as old enough to be remembered."""
    monkeypatch.setattr(hashing, "_SETTLED_NS", -(10**12))


def test_digests_are_sha256_in_the_order_asked(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "cab"]
    for path in paths:
        path.write_text(path.name)
    assert file_digests(paths) == [hashlib.sha256(p.name.encode()).digest() for p in paths]


@pytest.mark.usefixtures("settled")
def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    assert file_digest(path) == file_digest(path)
    assert reads == [path]


@pytest.mark.usefixtures("settled")
def test_a_file_changed_under_its_old_time_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    before, times = file_digest(path), path.stat()
    path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if path.stat().st_ctime_ns == times.st_ctime_ns:
        pytest.skip("both writes fell into one tick of this file system's clock")
    assert file_digest(path) != before
    assert reads == [path, path]


def test_a_file_touched_just_now_is_not_remembered(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    file_digests([path])
    file_digests([path])
    assert reads == [path, path]


@pytest.mark.usefixtures("settled")
def test_a_broken_memory_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "hashes.sqlite").write_text("this is no database at all" * 100)
    (tmp_path / "a").write_text("one")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"one").digest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the name is what is checked
        file_digests([tmp_path / "gone"])
    assert caught.value.filename == str(tmp_path / "gone")


@pytest.mark.usefixtures("settled")
def test_more_files_than_one_query_takes_are_remembered(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_QUERY", 3)
    paths = [tmp_path / f"{number}" for number in range(10)]
    for path in paths:
        path.write_text(path.name)
    assert file_digests(paths) == file_digests(paths)
    assert len(reads) == 10
