"""From files to vectors in the store, against the model alone."""

import tempfile
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from fedretune.backbones import load_backbone
from fedretune.bench.frame import Case, Sample, Side, rate_of
from fedretune.bench.options import Options
from fedretune.bench.run import cache_in
from fedretune.data.images import decode_image, read_image
from fedretune.data.manifest import Manifest, load_manifest
from fedretune.data.phantoms import write
from fedretune.embeddings import embed_images

if TYPE_CHECKING:
    from torch import Tensor

    from fedretune.backbones.model import Backbone

_BATCH = 64
#: Images that the bare model is fed, again and again: few enough to be held decoded. Whole batches.
_HELD = 256


def row(options: Options) -> Case:
    """Embedding: hash, decode, preprocess, encode, store; against the encoder on ready tensors.

    Both sides load the model, and encode the same number of images.
    """
    manifest = load_manifest(write(options.folder / "phantoms", options.scale.embedded, 4, 0))
    backbone = load_backbone(options.backbone)
    batches = _ready(manifest, backbone)
    fed = sum(len(batch) for batch in batches)
    ours = Side(
        f"{len(manifest)} image files to vectors in the store",
        lambda: _embed(manifest, options.backbone, options.folder),
    )
    bare = Side(
        f"the bare model, fed {fed} images from memory",
        lambda: rate_of(lambda: _feed(options.backbone, batches), fed),
    )
    return Case(
        "images/s",
        ours,
        bare,
        {"images": len(manifest), "dim": backbone.info.dim, "device": str(backbone.device)},
    )


def _embed(manifest: Manifest, backbone: str, folder: Path) -> Sample:
    """Embed into a store that is empty."""
    with cache_in(Path(tempfile.mkdtemp(dir=folder))):
        return rate_of(lambda: embed_images(manifest, backbone), len(manifest))


def _feed(backbone: str, batches: "list[Tensor]") -> None:
    model = load_backbone(backbone)
    for batch in batches:
        model.encode_images(batch)


def _ready(manifest: Manifest, backbone: "Backbone") -> "list[Tensor]":
    import torch

    paths = manifest.images[:_HELD]
    tensors = [backbone.preprocess(decode_image(read_image(path), path)) for path in paths]
    held = torch.split(torch.stack(tensors), _BATCH)
    whole, rest = divmod(len(manifest), _BATCH)
    batches = list(islice(cycle(held), whole))
    return [*batches, held[0][:rest]] if rest else batches
