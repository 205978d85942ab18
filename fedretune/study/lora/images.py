"""The rows that a tuned backbone looks at: of images as they are, or of images augmented anew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fedretune.data.images import open_image
from fedretune.data.manifest import Manifest
from fedretune.errors import UserError
from fedretune.seeds import derive_seed
from fedretune.study.lora.augment import Transform, seeded
from fedretune.workers import cores

if TYPE_CHECKING:
    from fedretune.adaptors import TunedSpec
    from fedretune.embeddings import Embeddings
    from fedretune.tuning.frozen import Trunk

#: Images a batch where no gradient is wanted: the study's eight batches.
EVALUATED = 512
#: Bytes of validation and test images that are kept in memory: more than NIH's have.
KEPT = 4 * 2**30
_MOST_LOADERS = 16

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stored:
    """Rows that were encoded once: of images as they are.

    Parameters
    ----------
    embeddings : Embeddings
        Of every row of the manifest that is asked for, by its position in `places`.
    places : int64 array
        From a row of the manifest to its position in the embeddings; -1 where it has none.
    """

    embeddings: "Embeddings"
    places: Positions

    def batches(self, batches: Sequence[Positions], epoch: int) -> Iterator[Tensor]:
        """Yield the rows ``[n, T * w]`` of each batch of the manifest's rows."""
        for rows in batches:
            yield torch.from_numpy(self.embeddings.take(self.places[rows]))


@dataclass(frozen=True, eq=False)
class Fresh:
    """Rows of images that are decoded and prepared whenever they are asked for.

    Parameters
    ----------
    manifest : Manifest
    prepare : callable
        From an image to a tensor ``[3, H, W]``; may draw from the global generators, which are
        seeded for each image and epoch.
    trunk : Trunk
    blocks : int
        How many of the last blocks are tuned; 0: rows are vectors.
    device : torch.device
    seed : int
    loaders : int (default: 0)
        Processes that prepare images, so that a GPU need not wait; 0: this one does.
    """

    manifest: Manifest
    prepare: Transform
    trunk: "Trunk"
    blocks: int
    device: torch.device
    seed: int
    loaders: int = 0

    def batches(self, batches: Sequence[Positions], epoch: int) -> Iterator[Tensor]:
        """Yield the rows ``[n, T * w]`` of each batch of the manifest's rows."""
        for images in self.images(batches, epoch):
            yield self.rows(images)

    def images(self, batches: Sequence[Positions], epoch: int) -> Iterator[Tensor]:
        """Yield the images ``[n, 3, H, W]``, on the CPU, of each batch of the manifest's rows."""
        loader = DataLoader(
            _Prepared(self.manifest, self.prepare, self.seed),
            batch_sampler=[[(epoch, int(row)) for row in batch] for batch in batches],
            num_workers=self.loaders,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # none of the global one's numbers are taken
        )
        yield from loader

    @torch.no_grad()
    def rows(self, images: Tensor) -> Tensor:
        """Return the rows ``[n, T * w]`` of prepared images."""
        images = images.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            tokens = self.trunk.tokens(images, self.blocks)
            rows = tokens.flatten(1) if self.blocks else self.trunk.top(tokens)
        return rows.float()


@dataclass(frozen=True, eq=False)
class Kept:
    """Rows of images as they are, prepared once: pixels stay in memory, as float16 of one channel.

    Parameters
    ----------
    fresh : Fresh
        Whose images are grey: three equal channels.
    most : int (default: `KEPT`)
        Bytes; images beyond them are prepared each time.
    """

    fresh: Fresh
    most: int = KEPT
    _pixels: dict[int, Tensor] = field(default_factory=dict)

    def batches(self, batches: Sequence[Positions], epoch: int) -> Iterator[Tensor]:
        """Yield the rows ``[n, T * w]`` of each batch of the manifest's rows."""
        lacking = [batch for batch in batches if not self._has(batch)]
        coming = self.fresh.images(lacking, epoch)
        for batch in batches:
            kept = self._has(batch)
            grey = self._taken(batch) if kept else next(coming)[:, :1].half()
            if not kept:
                self._keep(batch, grey)
            yield self.fresh.rows(grey.float().expand(-1, 3, -1, -1))

    def _has(self, batch: Positions) -> bool:
        return all(int(row) in self._pixels for row in batch)

    def _taken(self, batch: Positions) -> Tensor:
        return torch.stack([self._pixels[int(row)] for row in batch])

    def _keep(self, batch: Positions, grey: Tensor) -> None:
        each = grey[0].numel() * grey.element_size()
        if (len(self._pixels) + len(batch)) * each <= self.most:
            rows = zip(batch.tolist(), grey, strict=True)
            self._pixels.update((row, image.clone()) for row, image in rows)


class _Prepared(Dataset[Tensor]):
    """Images by epoch and row; the same for both, whichever process prepares it."""

    def __init__(self, manifest: Manifest, prepare: Transform, seed: int) -> None:
        self._manifest, self._prepare, self._seed = manifest, prepare, seed

    def __getitem__(self, key: Any) -> Tensor:
        epoch, row = key
        try:
            image = open_image(self._manifest.images[row])
        except UserError as error:
            raise UserError(f"{self._manifest.where(row)}: {error}") from error
        with seeded(derive_seed(self._seed, "augment", epoch, row)):
            return self._prepare(image)


def stored(manifest: Manifest, backbone: str, spec: "TunedSpec", rows: Positions) -> Stored:
    """Return the rows of images as they are, encoded once and kept in the cache.

    Raises
    ------
    UserError
        As `fedretune.embeddings.embed_images` does.
    """
    from fedretune.embeddings import embed_images

    embeddings = embed_images(manifest, backbone, rows=rows, cut=spec)
    places = np.full(len(manifest), -1, dtype=np.int64)
    places[rows] = np.arange(len(rows))
    return Stored(embeddings, places)


def loaders_for(device: torch.device) -> int:
    """Return how many processes are to prepare images: on a CPU, which trains itself, none."""
    return min(cores(), _MOST_LOADERS) if device.type == "cuda" else 0


def worth_storing(spec: "TunedSpec", size: int) -> bool:
    """Return whether what is frozen of an image is kept, rather than made again each epoch.

    It is where a block is frozen, or where it takes no more bytes than the image's own pixels do.
    All 197 tokens of a ViT-B/16 at its patch embedding would take twice as many.
    """
    return spec.blocks < spec.layout.depth or 2 * spec.row <= 3 * size * size
