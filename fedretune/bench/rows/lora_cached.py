"""LoRA in the last blocks of a ViT: on stored tokens, against a loop that runs all blocks anew."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedretune.adaptors import TunedSpec, build
from fedretune.backbones import load_backbone
from fedretune.bench.frame import Case, Fact, Sample, Side, seconds_of
from fedretune.bench.options import Options
from fedretune.data.images import decode_image, read_image
from fedretune.data.manifest import Manifest, load_manifest
from fedretune.data.phantoms import write
from fedretune.embeddings import embed_images, no_prompts
from fedretune.tuning import held, tuned_spec, use

if TYPE_CHECKING:
    from torch import Tensor

Epoch = Callable[..., object]

#: ViT-Ti/16: twelve blocks, as ViT-B/16 has, that a CPU runs in a fraction of its time.
WIDTH, DEPTH, TUNED, BATCH = 192, 12, 4, 16
#: Of the patients of the row `embedding`: one in so many.
_FEWER = 10


def row(options: Options) -> Case:
    """One epoch of LoRA in the last 4 of 12 blocks, its tokens stored; against a naive loop.

    The loop reads and decodes each image and runs the frozen blocks, without a graph, as torch does
    for what asks for no gradient; then it takes the very same steps. Both on one thread. The fact
    `unfrozen_s` is what the loop takes if it has left the backbone's weights asking for gradients,
    and only keeps them from the optimizer.
    """
    patients = max(2, options.scale.embedded // _FEWER)
    manifest = load_manifest(write(options.folder / "phantoms", patients, 2, 0))
    name = f"vit-mrm:{write_checkpoint(options.folder / 'vit.pth', WIDTH, DEPTH)}"
    spec = tuned_spec(use(name), "lora", findings=len(manifest.findings), blocks=TUNED)
    cached, naive = epochs(manifest, name, spec)
    count = len(manifest)
    facts: dict[str, Fact] = {"images": count, "tuned": TUNED, "depth": DEPTH, "width": WIDTH}

    def all_anew() -> Sample:
        facts["unfrozen_s"] = seconds_of(partial(naive, True)).value
        return seconds_of(naive)

    return Case(
        "s",
        Side(f"an epoch of {count} images, on stored tokens", lambda: seconds_of(cached)),
        Side(f"an epoch of {count} images, all blocks anew", all_anew),
        facts,
    )


def epochs(manifest: Manifest, name: str, spec: TunedSpec) -> tuple[Epoch, Epoch]:
    """Return one epoch on stored tokens, and one that runs all blocks anew, if asked unfrozen."""
    import torch

    from fedretune.training import TrainingSettings, one_thread, train

    found = embed_images(manifest, name, cut=spec)
    stored = torch.from_numpy(found.take(range(len(manifest)), np.float16))
    labels = torch.from_numpy(manifest.labels("zeros"))
    settings = TrainingSettings(epochs=1, batch_size=BATCH)
    prompts = no_prompts(manifest.findings, name)
    prepare = load_backbone(name, "cpu").preprocess

    def cached() -> object:
        return train(build(spec, 0), stored, labels, prompts, settings, 0)

    def naive(unfrozen: bool = False) -> object:
        model = build(spec, 0)
        for start in range(0, len(manifest), BATCH):
            chosen = slice(start, start + BATCH)
            paths = manifest.images[chosen]
            images = torch.stack([prepare(decode_image(read_image(path), path)) for path in paths])
            with _asking(spec, unfrozen):
                train(model, _tokens(images, spec), labels[chosen], prompts, settings, 0)
        return model

    return cached, one_thread()(naive)


def _tokens(images: "Tensor", spec: TunedSpec) -> "Tensor":
    """Return the tokens below the cut, with a graph where the blocks ask for gradients."""
    trunk = held(spec.layout.backbone)
    tokens = trunk.embed(images)
    for block in trunk.blocks[: DEPTH - spec.blocks]:
        tokens = block(tokens)
    return tokens.flatten(1)


@contextmanager
def _asking(spec: TunedSpec, wanted: bool) -> Iterator[None]:
    """While it lasts, have the frozen blocks ask for gradients, if that is wanted."""
    blocks = held(spec.layout.backbone).blocks if wanted else ()
    for block in blocks:
        block.requires_grad_(True)
    try:
        yield
    finally:
        for block in blocks:
            block.requires_grad_(False)
            block.zero_grad()


def write_checkpoint(path: Path, width: int, depth: int) -> Path:
    """Write a ViT of 16-pixel patches and random weights, as MRM's file has them; return it."""
    import torch
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    vit = VisionTransformer(embed_dim=width, depth=depth, num_heads=width // 64, num_classes=0)
    torch.save({"model": vit.state_dict()}, path)
    return path
