"""The rows that a tuned backbone looks at: of images as they are, or of images augmented anew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    """

    manifest: Manifest
    prepare: Transform
    trunk: "Trunk"
    blocks: int
    device: torch.device
    seed: int

    def batches(self, batches: Sequence[Positions], epoch: int) -> Iterator[Tensor]:
        """Yield the rows ``[n, T * w]`` of each batch of the manifest's rows.

        Where there is a GPU to wait for them, images are prepared by other processes.
        """
        on_gpu = self.device.type == "cuda"
        loader = DataLoader(
            _Prepared(self.manifest, self.prepare, self.seed),
            batch_sampler=[[(epoch, int(row)) for row in batch] for batch in batches],
            num_workers=min(cores(), _MOST_LOADERS) if on_gpu else 0,
            pin_memory=on_gpu,
            generator=torch.Generator(),  # none of the global one's numbers are taken
        )
        for images in loader:
            yield self._rows(images.to(self.device, non_blocking=True))

    @torch.no_grad()
    def _rows(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            tokens = self.trunk.tokens(images, self.blocks)
            rows = tokens.flatten(1) if self.blocks else self.trunk.top(tokens)
        return rows.float()


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


def worth_storing(spec: "TunedSpec", size: int) -> bool:
    """Return whether what is frozen of an image is kept, rather than made again each epoch.

    It is where a block is frozen, or where it takes no more bytes than the image's own pixels do.
    All 197 tokens of a ViT-B/16 at its patch embedding would take twice as many.
    """
    return spec.blocks < spec.layout.depth or 2 * spec.row <= 3 * size * size
