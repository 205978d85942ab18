"""A whole run, each image encoded once, against the same run that encodes it at every epoch."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedretune.backbones import BackboneInfo, load_backbone
from fedretune.bench.frame import Case, Sample, Side, seconds_of
from fedretune.bench.options import Options
from fedretune.bench.run import cache_in
from fedretune.bench.vectors import in_place_of, opened
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.data.images import decode_image, read_image
from fedretune.data.manifest import Manifest, load_manifest
from fedretune.data.phantoms import write
from fedretune.embeddings import Embeddings, embed_images

if TYPE_CHECKING:
    from torch import Tensor

    from fedretune.backbones.model import Backbone

#: Of the default run: 5,100 patients over 4 sites and 5 experiences. So shards are as large here.
_PATIENTS_PER_SITE = 255
_BATCH, _THREADS = 64, 4  # as `embed_images`


def row(options: Options) -> Case:
    """From image files to the table: one experience of the default run, with its own shards.

    Both sides encode what is evaluated once; the re-encoding one encodes the training images of
    a visit in each of its epochs, decoding ahead in threads.
    """
    sites = max(1, options.scale.reencoded // _PATIENTS_PER_SITE)
    app = find_app(options.app)
    manifest = write(options.folder / "phantoms", options.scale.reencoded, sites, 0)
    values = {
        "manifest": str(manifest),
        "backbone": options.backbone,
        "sites": sites,
        "experiences": 1,
        "out": str(options.folder / "runs"),
        "name": "bench",
    }
    config = app.module("scenarios").RunConfig.from_flat(values)
    images, passes = len(load_manifest(manifest)), config.rounds * config.train.epochs
    encoder = Reencoder(config.train.epochs)
    _run(app, config, options.folder, embed_images)  # what is imported and compiled only once
    return Case(
        "s",
        Side(
            f"a whole run from {images:,} image files to its table",
            lambda: _run(app, config, options.folder, embed_images),
        ),
        Side(
            f"the same run, training images encoded anew in each of {passes} epochs",
            lambda: _run(app, config, options.folder, encoder.embed),
        ),
        {"images": images, "sites": sites, "epochs": passes},
        repeats=1,
    )


def _run(app: AppFolder, config: Any, folder: Path, embed: Callable[..., Any]) -> Sample:
    """Run once from an empty store, images being embedded by `embed`."""
    simulate, server, client = (
        app.module("server.simulator").simulate,
        app.server_app,
        app.client_app,
    )
    worlds = app.module("clients.world")

    def whole() -> None:
        with in_place_of(worlds, "embed_images", embed):
            world = worlds.make_world(config, config.sites)
        with opened(app, world):
            simulate(server, client, config.to_flat(), config.sites)

    with cache_in(Path(tempfile.mkdtemp(dir=folder))):
        sample = seconds_of(whole)
    shutil.rmtree(folder / "runs")
    return sample


@dataclass(frozen=True, eq=False)
class Reencoding:
    """Stands where `Embeddings` stand, and keeps no vector of a training image.

    Parameters
    ----------
    manifest : Manifest
    backbone : Backbone
    evaluated : Embeddings
        Vectors of the images that are not trained on; those of the others are never looked at.
    epochs : int
        Times that a visit encodes each of its training images.
    """

    manifest: Manifest
    backbone: "Backbone"
    evaluated: Embeddings
    epochs: int

    @property
    def info(self) -> BackboneInfo:
        """The backbone's facts."""
        return self.backbone.info

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors ``[k, d]`` of these rows: all of them trained on, or none."""
        if not (self.manifest.table["split"].iloc[positions] == "train").all():
            return self.evaluated.take(positions)
        for _ in range(self.epochs):
            vectors = self._encoded(positions.tolist())
        return vectors

    def _encoded(self, rows: Sequence[int]) -> NDArray[np.float32]:
        import torch

        encoded = []
        with ThreadPoolExecutor(_THREADS) as pool:
            ready = pool.map(self._tensor, rows)
            while batch := list(islice(ready, _BATCH)):
                encoded.append(self.backbone.encode_images(torch.stack(batch)))
        found: NDArray[np.float32] = torch.cat(encoded).half().float().numpy()  # as stored ones are
        return found

    def _tensor(self, row: int) -> "Tensor":
        path = self.manifest.images[row]
        return self.backbone.preprocess(decode_image(read_image(path), path))


@dataclass(frozen=True)
class Reencoder:
    """How a run without a store embeds: for a visit of so many epochs, each time anew."""

    epochs: int

    def embed(self, manifest: Manifest, backbone: str, **options: Any) -> Reencoding:
        """Embed what is evaluated; takes what `embed_images` takes."""
        rows = np.flatnonzero(manifest.table["split"] != "train")
        found = embed_images(manifest, backbone, rows=rows, **options)
        held = np.zeros(len(manifest), dtype=np.int64)
        held[rows] = found.rows
        return Reencoding(manifest, load_backbone(backbone), replace(found, rows=held), self.epochs)
