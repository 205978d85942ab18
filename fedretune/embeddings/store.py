"""An append-only store of float16 vectors, found by the SHA-256 of the image file's content.

A store is one folder with two raw files: ``vectors.f16`` (``[N, d]`` float16) and ``digests.bin``
(``[N, 32]`` bytes). Vectors are written before digests, each flushed to the disk, so that `N` is
what both files hold; a tail that a killed process left is cut off by the next writer. Writers take
a lock for the time of one batch; readers need none, for rows never change.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fedretune.adaptors import TunedSpec
from fedretune.backbones import BackboneInfo
from fedretune.data.images import DECODING
from fedretune.errors import UserError
from fedretune.paths import cache_folder

_DIGEST = 32
Encode = Callable[[list[int]], NDArray[np.float16]]
Vectors = np.memmap[tuple[int, ...], np.dtype[np.float16]]


@dataclass(eq=False)
class VectorStore:
    """The vectors of one backbone with one preprocessing; see the module's docstring.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    dim : int
        Length `d` of a vector.
    """

    folder: Path
    dim: int
    _rows: dict[bytes, int] = field(default_factory=dict)
    _seen: int = 0

    def __post_init__(self) -> None:
        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in (self._vectors_file, self._digests_file):
                path.touch(exist_ok=True)

    @property
    def _vectors_file(self) -> Path:
        return self.folder / "vectors.f16"

    @property
    def _digests_file(self) -> Path:
        return self.folder / "digests.bin"

    def __len__(self) -> int:
        """Return `N`, the number of whole rows on the disk now."""
        vectors = self._vectors_file.stat().st_size // (2 * self.dim)
        return int(min(vectors, self._digests_file.stat().st_size // _DIGEST))

    def index(self) -> dict[bytes, int]:
        """Return digest to row of every row on the disk now; it only ever grows."""
        count = len(self)
        if count > self._seen:
            with self._digests_file.open("rb") as file:
                file.seek(self._seen * _DIGEST)
                fresh = file.read((count - self._seen) * _DIGEST)
            for row in range(self._seen, count):
                start = (row - self._seen) * _DIGEST
                self._rows.setdefault(fresh[start : start + _DIGEST], row)
            self._seen = count
        return self._rows

    def vectors(self) -> Vectors:
        """Return the float16 rows ``[N, d]`` as a read-only memory map; `N` must not be 0."""
        return np.memmap(
            self._vectors_file, dtype=np.float16, mode="r", shape=(len(self), self.dim)
        )

    def add(self, digests: Sequence[bytes], encode: Encode) -> int:
        """Encode and append the rows that the store lacks, alone of all writers.

        Another process that is after the same images waits here and then finds them stored, so
        nothing is encoded twice.

        Parameters
        ----------
        digests : Sequence[bytes]
            32 bytes a row; one that comes twice is stored once.
        encode : callable
            From positions in `digests` to their vectors, a float16 array ``[k, d]``.

        Returns
        -------
        int
            How many rows were appended.

        Raises
        ------
        UserError
            The folder cannot be written, or the disk is full.
        """
        with _explained(self.folder), FileLock(self.folder / "lock"):
            known = self.index()
            first = {digest: row for row, digest in reversed(list(enumerate(digests)))}
            fresh = sorted(row for digest, row in first.items() if digest not in known)
            if not fresh:
                return 0
            count = len(self)
            rows = np.ascontiguousarray(encode(fresh), dtype=np.float16)
            _write_after(self._vectors_file, count * 2 * self.dim, rows.tobytes())
            names = b"".join(digests[row] for row in fresh)
            _write_after(self._digests_file, count * _DIGEST, names)
            return len(fresh)


def open_store(info: BackboneInfo, cut: TunedSpec | None = None) -> VectorStore:
    """Open the store of a backbone, keyed by its fingerprint, preprocessing and our decoding.

    With a `cut` the one of the tokens that come to the last so many blocks.
    """
    about = {
        "backbone": info.fingerprint,
        "preprocessing": info.preprocessing,
        "decoding": DECODING,
        "dim": cut.row if cut else info.dim,
    }
    if cut:
        about["tokens"] = f"before the last {cut.blocks} blocks"
    text = json.dumps(about, sort_keys=True)
    folder = cache_folder() / "embeddings" / hashlib.sha256(text.encode()).hexdigest()[:32]
    store = VectorStore(folder, cut.row if cut else info.dim)
    if not (folder / "about.json").exists():  # for people; nothing reads it
        with _explained(folder):
            (folder / "about.json").write_text(text + "\n")
    return store


def _write_after(path: Path, size: int, content: bytes) -> None:
    """Cut `path` to `size` bytes, append `content`, and see it to the disk."""
    with path.open("r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class _explained:  # noqa: N801 - a context manager, read as a word
    """Turn an `OSError` into a `UserError` that names the folder and the variable that moves it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise UserError(
                f"Cannot write {self._folder}: {error.strerror or error}. FEDRETUNE_CACHE names "
                "another folder for what FedRETune keeps."
            ) from error
