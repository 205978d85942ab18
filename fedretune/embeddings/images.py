"""Encoding the images of a manifest, each once."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedretune.backbones import BackboneInfo, describe, load_backbone
from fedretune.data.images import decode_image, read_image
from fedretune.data.manifest import Manifest
from fedretune.embeddings.store import Vectors, VectorStore, open_store
from fedretune.errors import UserError
from fedretune.hashing import file_digests

if TYPE_CHECKING:
    from torch import Tensor

    from fedretune.backbones.model import Backbone

#: Called with the images done and the images asked for.
Progress = Callable[[int, int], None]

_BATCH = 64
_CHUNK = 1024  # files hashed, then encoded: few enough to be in memory still the second time
_THREADS = 4  # that decode ahead of the encoder
_AHEAD = 2 * _BATCH  # images decoded and not yet encoded


@dataclass(frozen=True, eq=False)
class Prepared:
    """A decoded image, ready for the encoder: its place in the chunk, digest and tensor."""

    place: int
    digest: bytes
    tensor: "Tensor"


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The frozen vectors of `n` images.

    Parameters
    ----------
    vectors : float16 memory map [N, d]
        Everything in the store, of other manifests too.
    rows : int64 array [n]
        Where each image's vector is.
    info : BackboneInfo
    encoded : int
        How many of them this call encoded; the others were in the store.
    """

    vectors: Vectors
    rows: NDArray[np.int64]
    info: BackboneInfo
    encoded: int

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors ``[k, d]`` of the images at these positions of `rows`."""
        chosen = self.rows[np.asarray(positions, dtype=np.int64)]
        return np.asarray(self.vectors[chosen], dtype=np.float32)


def embed_images(
    manifest: Manifest,
    backbone: str,
    *,
    device: str = "auto",
    allow_hub: bool = False,
    progress: Progress | None = None,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
) -> Embeddings:
    """Return the vectors of a manifest's images; encode those that the store lacks.

    The backbone is loaded only when something is missing. What has been encoded stays, whatever
    happens after.

    Parameters
    ----------
    manifest : Manifest
        Of `n` images.
    backbone : str
        A name for `fedretune.backbones.describe`.
    device : str (default: "auto")
    allow_hub : bool (default: False)
    progress : callable (done, asked for), optional
    rows : sequence of int, optional
        Positions of rows; all rows where not given.

    Raises
    ------
    UserError
        The backbone's faults; an image that cannot be read (names the file and the manifest's
        line); a store that cannot be written.
    """
    info = describe(backbone, allow_hub)
    store = open_store(info)
    wanted = np.arange(len(manifest)) if rows is None else np.asarray(rows, dtype=np.int64)
    found = np.empty(len(wanted), dtype=np.int64)
    load = cache(lambda: load_backbone(backbone, device, allow_hub))
    encoded = 0
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK].tolist()
        digests = _digests(manifest, chunk)
        for batch, new in _encode_missing(manifest, chunk, digests, store, load):
            for prepared in batch:
                digests[prepared.place] = prepared.digest
            encoded += new
            if progress:
                progress(start + batch[-1].place, len(wanted))
        found[start : start + len(chunk)] = [store.index()[digest] for digest in digests]
        if progress:
            progress(start + len(chunk), len(wanted))
    return Embeddings(store.vectors(), found, info, encoded)


def _digests(manifest: Manifest, rows: Sequence[int]) -> list[bytes]:
    paths = [manifest.images[row] for row in rows]
    try:
        return file_digests(paths)
    except OSError as error:
        message = f"Cannot read the image {error.filename}: {error.strerror}."
        lines = [manifest.where(row) for row in rows if str(manifest.images[row]) == error.filename]
        raise UserError(": ".join([*lines[:1], message])) from error


def _encode_missing(
    manifest: Manifest,
    rows: Sequence[int],
    digests: Sequence[bytes],
    store: VectorStore,
    load: Callable[[], "Backbone"],
) -> Iterator[tuple[list[Prepared], int]]:
    """Store what the store lacks; yield each batch and how many of it were new to the store."""
    known = store.index()
    missing = [place for place, digest in enumerate(digests) if digest not in known]
    if not missing:
        return
    model = load()

    def prepare(place: int) -> Prepared:
        return _prepare(manifest, rows[place], place, model)

    for batch in _batches(prepare, missing):

        def encode(positions: list[int], batch: list[Prepared] = batch) -> NDArray[np.float16]:
            return _encode(model, [batch[position] for position in positions])

        yield batch, store.add([prepared.digest for prepared in batch], encode)


def _prepare(manifest: Manifest, row: int, place: int, model: "Backbone") -> Prepared:
    """Read and decode one image. Its digest is taken anew, of the very bytes that are decoded."""
    path = manifest.images[row]
    try:
        content = read_image(path)
        tensor = model.preprocess(decode_image(content, path))
    except UserError as error:
        raise UserError(f"{manifest.where(row)}: {error}") from error
    return Prepared(place, hashlib.sha256(content).digest(), tensor)


def _batches(prepare: Callable[[int], Prepared], places: Sequence[int]) -> Iterator[list[Prepared]]:
    """Yield batches in the order of `places`, prepared by threads a little ahead of their use."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        queue = iter(places)
        ahead = deque(pool.submit(prepare, place) for place in islice(queue, _AHEAD))
        while ahead:
            batch = [ahead.popleft().result() for _ in range(min(_BATCH, len(ahead)))]
            ahead.extend(pool.submit(prepare, place) for place in islice(queue, len(batch)))
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _encode(model: "Backbone", batch: list[Prepared]) -> NDArray[np.float16]:
    import torch

    vectors = model.encode_images(torch.stack([prepared.tensor for prepared in batch]))
    half = vectors.to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        raise UserError(
            f"The backbone '{model.info.name}' gives vectors that are no finite float16 numbers: "
            "its weights are broken, or not meant for this preprocessing."
        )
    return half.numpy()
