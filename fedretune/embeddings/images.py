"""Encoding the images of a manifest, each once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedretune.adaptors import TunedSpec
from fedretune.backbones import BackboneInfo, describe, load_backbone
from fedretune.data.manifest import Manifest
from fedretune.embeddings import ahead
from fedretune.embeddings.ahead import Prepared
from fedretune.embeddings.store import Vectors, VectorStore, open_store
from fedretune.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from fedretune.backbones.model import Backbone

#: Called with the images done and the images asked for.
Progress = Callable[[int, int], None]

#: Images a batch: on a GPU, writing a batch to the disk must not take long beside encoding it.
_BATCH, _BATCH_GPU = 64, 256


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

    def take(
        self,
        positions: Sequence[int] | NDArray[np.int64],
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
        """Return the vectors ``[k, d]`` of the images at these positions of `rows`."""
        chosen = self.rows[np.asarray(positions, dtype=np.int64)]
        return np.asarray(self.vectors[chosen], dtype=dtype)


def embed_images(
    manifest: Manifest,
    backbone: str,
    *,
    device: str = "auto",
    allow_hub: bool = False,
    progress: Progress | None = None,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
    cut: TunedSpec | None = None,
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
    cut : TunedSpec, optional
        What is tuned inside the backbone: rather than vectors, the tokens ``[T * w]`` below its
        lowest tuned block, all that is frozen, are encoded, once, and kept beside the vectors.

    Raises
    ------
    UserError
        The backbone's faults; an image that cannot be read (names the file and the manifest's
        line); a store that cannot be written.
    """
    info = describe(backbone, allow_hub)
    cut = cut if cut and cut.blocks else None
    store = open_store(info, cut)
    wanted = np.arange(len(manifest)) if rows is None else np.asarray(rows, dtype=np.int64)
    found = np.empty(len(wanted), dtype=np.int64)
    tell = _Teller(progress, len(wanted))
    load = cache(lambda: load_backbone(backbone, device, allow_hub))
    encoded = 0
    missing = _look_up(manifest, wanted, store, found, tell)
    for batch in _batches(manifest, wanted, missing, load):
        encoded += store.add([image.digest for image in batch], _encoder(load(), batch, cut))
        index = store.index()
        found[[image.place for image in batch]] = [index[image.digest] for image in batch]
        tell.done(batch[-1].place + 1)
    tell.done(len(wanted))
    return Embeddings(store.vectors(), found, info, encoded)


class _Teller:
    """Tells the progress, which never goes back, of two who each know a part of it."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._told = progress, total, -1

    def done(self, count: int) -> None:
        if self._progress and count > self._told:
            self._told = count
            self._progress(count, self._total)


def _look_up(
    manifest: Manifest,
    wanted: NDArray[np.int64],
    store: VectorStore,
    found: NDArray[np.int64],
    tell: _Teller,
) -> Iterator[int]:
    """Fill `found` with what the store has; yield the places of what it lacks."""
    pending = False
    for start, digests in ahead.digests(manifest, wanted):
        index = store.index()
        rows = np.array([index.get(digest, -1) for digest in digests], dtype=np.int64)
        found[start : start + len(rows)] = rows
        lacking = (start + np.flatnonzero(rows < 0)).tolist()
        pending = pending or bool(lacking)
        if not pending:
            tell.done(start + len(rows))
        yield from lacking


def _batches(
    manifest: Manifest,
    wanted: NDArray[np.int64],
    missing: Iterator[int],
    load: "Callable[[], Backbone]",
) -> Iterator[list[Prepared]]:
    """Yield batches of prepared images. Loads no backbone where nothing is missing."""
    first = next(missing, None)
    if first is None:
        return
    model = load()
    size = _BATCH_GPU if model.device.type == "cuda" else _BATCH

    def prepare(place: int) -> Prepared:
        return ahead.prepare(manifest, int(wanted[place]), place, model)

    yield from ahead.batches(prepare, chain([first], missing), size)


def _encoder(
    model: "Backbone", batch: Sequence[Prepared], cut: TunedSpec | None
) -> Callable[[list[int]], NDArray[np.float16]]:
    """Return what encodes those images of a batch that stand at the positions asked for."""
    import torch

    rows_of = model.encode_images if cut is None else _tokens_of(model, cut)

    def encode(positions: list[int]) -> NDArray[np.float16]:
        tensors = torch.stack([batch[position].tensor for position in positions])
        half = rows_of(tensors).to(torch.float16)
        if not bool(torch.isfinite(half).all()):
            raise UserError(
                f"The backbone '{model.info.name}' gives vectors that are no finite float16 "
                "numbers: its weights are broken, or not meant for this preprocessing."
            )
        return half.numpy()

    return encode


def _tokens_of(model: "Backbone", cut: TunedSpec) -> "Callable[[Tensor], Tensor]":
    from fedretune.tuning.load import trunk_of

    trunk = trunk_of(model)

    def encode(images: "Tensor") -> "Tensor":
        return model.encode(lambda batch: trunk.tokens(batch, cut.blocks).flatten(1), images)

    return encode
