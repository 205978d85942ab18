"""What comes back of one image, as a picture: ``privacy attack --attack inversion --picture``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from fedretune.adaptors import load
from fedretune.cli.console import say
from fedretune.cli.privacy_updates import Update, taught, updates_of
from fedretune.cli.privacy_world import rows_of
from fedretune.errors import UserError
from fedretune.privacy.attacks.inversion import invert
from fedretune.privacy.attacks.reconstruction import (
    coloured,
    correlation,
    decoded,
    reconstruct,
)

if TYPE_CHECKING:
    from fedretune.backbones.model import Backbone

#: Evaluation images that the attacker learns from.
PUBLIC = 400
#: A panel's side and the strip with its words, in pixels.
SIDE, STRIP = 256, 34


@dataclass(frozen=True)
class Panel:
    """An image ``[H, W]`` as the backbone is shown it, what it is, and its vector's cosine."""

    image: Tensor
    name: str
    cosine: float


@dataclass(frozen=True)
class Pictured:
    """What came back of one update, and how alike it is to the image that it was trained on.

    Parameters
    ----------
    panels : tuple[Panel, Panel, Panel]
        True, nearest by retrieval, reconstructed; cosines with the recovered vector.
    correlation, mean_correlation : float
        Of the pixels of the reconstruction, and of the mean public image, with the true ones.
    beyond : float
        Of what the reconstruction has beyond the mean image, with what the true one has.
    """

    panels: tuple[Panel, Panel, Panel]
    correlation: float
    mean_correlation: float
    beyond: float


def draw(run: Path, world: Any, file: Path) -> None:
    """Reconstruct the image of the update with the fewest images, draw it, and tell."""
    update = min(updates_of(run, world), key=lambda each: len(taught(world, each)))
    found = pictured(run, world, update)
    try:
        sheet(found.panels).save(file)
    except OSError as error:
        raise UserError(f"Cannot write {file} ({error.strerror}): name another file.") from error
    images = len(taught(world, update))
    say(
        f"{file}: {update.site}, experience {update.experience + 1}, round {update.round + 1}, "
        f"{images} image{'s' * (images > 1)}. Cosine with the recovered vector: "
        + ", ".join(f"{each.name} {each.cosine:.4f}" for each in found.panels)
        + f". Pixels' correlation with the true image: [bold]{found.correlation:.3f}[/]; of the "
        f"mean image {found.mean_correlation:.3f}. Beyond the mean image: "
        f"[bold]{found.beyond:.3f}[/]."
    )


def pictured(run: Path, world: Any, update: Update) -> Pictured:
    """Recover an update's vector, find the nearest image, and reconstruct one."""
    from fedretune.backbones import load_backbone

    config = world.config
    backbone = load_backbone(config.backbone, config.device, config.allow_hub)
    spec, _, _ = load(run / "adaptors.safetensors")
    held_out = rows_of(world, config.evaluation_split)
    gallery = rows_of(world, "train", config.evaluation_split)
    vector = invert(spec, update.sent, update.answered, world.embeddings.take(held_out))
    direction = torch.from_numpy(vector).float()
    true, nearest = (_nearest(world, rows, direction) for rows in (taught(world, update), gallery))
    seen = np.random.default_rng(0).choice(held_out, min(PUBLIC, len(held_out)), replace=False)
    public = torch.stack([_shown(world, row, backbone) for row in seen])

    def encode(images: Tensor) -> Tensor:
        vectors: Tensor = backbone.model.encode_image(images.to(backbone.device)).float().cpu()
        return vectors

    start = decoded(direction, torch.from_numpy(world.embeddings.take(seen)), public)
    made = reconstruct(encode, direction, public, start)
    truth, mean = _shown(world, true, backbone), public.mean(0)
    shown = ((truth, "true"), (_shown(world, nearest, backbone), "nearest"), (made, "rebuilt"))
    with torch.no_grad():
        panels = [
            Panel(image, name, float(_cosine(encode(coloured(image))[0], direction)))
            for image, name in shown
        ]
    return Pictured(
        (panels[0], panels[1], panels[2]),
        correlation(made, truth),
        correlation(mean, truth),
        correlation(made - mean, truth - mean),
    )


def sheet(panels: tuple[Panel, ...]) -> Image.Image:
    """Return the panels side by side, their words below; brightness as in the first."""
    low, high = float(panels[0].image.min()), float(panels[0].image.max())
    whole = Image.new("L", (SIDE * len(panels), SIDE + STRIP), 255)
    drawn = ImageDraw.Draw(whole)
    for place, panel in enumerate(panels):
        grey = ((panel.image - low) / max(high - low, 1e-12)).clamp(0, 1) * 255
        picture = Image.fromarray(grey.round().byte().numpy())
        whole.paste(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (place * SIDE, 0))
        drawn.text((place * SIDE + 8, SIDE + 4), panel.name, 0)
        drawn.text((place * SIDE + 8, SIDE + 18), f"cosine {panel.cosine:.3f}", 0)
    return whole


def _nearest(world: Any, rows: Any, direction: Tensor) -> int:
    """Return the row whose vector has the direction, or comes nearest to it."""
    vectors = torch.from_numpy(world.embeddings.take(rows))
    return int(rows[int(_cosine(vectors, direction).argmax())])


def _cosine(vectors: Tensor, direction: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(vectors, direction, dim=-1)


def _shown(world: Any, row: int, backbone: "Backbone") -> Tensor:
    """Return an image ``[H, W]`` as the backbone is shown it, in grey."""
    from fedretune.data.images import open_image

    return backbone.preprocess(open_image(world.manifest.images[row])).mean(0)
