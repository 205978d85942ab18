"""Hashing and decoding images a little ahead of the encoder, which must never wait for either.

Threads: reading, hashing, decompressing and resizing leave Python's lock alone, so worker processes
were measured no faster, and each would import torch and copy its images over. What is ahead is
bounded, so memory does not grow with the number of images.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedretune.data.images import decode_image, read_image
from fedretune.data.manifest import Manifest
from fedretune.errors import UserError
from fedretune.hashing import file_digests
from fedretune.workers import cores

if TYPE_CHECKING:
    from torch import Tensor

    from fedretune.backbones.model import Backbone

_CHUNK = 1024  # files hashed at a time: few enough to be in memory still when they are decoded
_MOST = 16  # threads that decode


@dataclass(frozen=True, eq=False)
class Prepared:
    """A decoded image, ready for the encoder: its place among those asked for, digest, tensor."""

    place: int
    digest: bytes
    tensor: "Tensor"


def digests(manifest: Manifest, rows: NDArray[np.int64]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the digests of the images of `rows` in chunks, each with its first position.

    While a chunk is used, the next one is hashed. Raises `UserError` naming the file and the
    manifest's line where one cannot be read.
    """
    with ThreadPoolExecutor(1) as pool:
        coming: Future[list[bytes]] | None = None
        for start in range(0, len(rows), _CHUNK):
            now = coming or pool.submit(_digests, manifest, rows[:_CHUNK].tolist())
            after = rows[start + _CHUNK : start + 2 * _CHUNK].tolist()
            coming = pool.submit(_digests, manifest, after)
            yield start, now.result()


def _digests(manifest: Manifest, rows: Sequence[int]) -> list[bytes]:
    paths = [manifest.images[row] for row in rows]
    try:
        return file_digests(paths)
    except OSError as error:
        message = f"Cannot read the image {error.filename}: {error.strerror}."
        lines = [manifest.where(row) for row in rows if str(manifest.images[row]) == error.filename]
        raise UserError(": ".join([*lines[:1], message])) from error


def prepare(manifest: Manifest, row: int, place: int, model: "Backbone") -> Prepared:
    """Read and decode one image. Its digest is taken anew, of the very bytes that are decoded."""
    path = manifest.images[row]
    try:
        content = read_image(path)
        tensor = model.preprocess(decode_image(content, path))
    except UserError as error:
        raise UserError(f"{manifest.where(row)}: {error}") from error
    return Prepared(place, hashlib.sha256(content).digest(), tensor)


def batches(
    ready: Callable[[int], Prepared], places: Iterator[int], size: int
) -> Iterator[list[Prepared]]:
    """Yield batches of `size`, in the order of `places`; two are prepared ahead of their use."""
    pool = ThreadPoolExecutor(min(max(cores(), 2), _MOST))
    try:
        coming = deque(pool.submit(ready, place) for place in islice(places, 2 * size))
        while coming:
            batch = [coming.popleft().result() for _ in range(min(size, len(coming)))]
            coming.extend(pool.submit(ready, place) for place in islice(places, len(batch)))
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
