"""What becomes of a radiograph before an encoder that is not open_clip's sees it."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """Grey, perhaps stretched; the shorter side resized; the centre cut out; three equal channels.

    Parameters
    ----------
    resize : int
        Pixels of the shorter side.
    size : int
        Pixels of each side of the square that is cut out.
    interpolation : str
        ``bilinear`` or ``bicubic``.
    mean, std : float
        Taken off, and divided by, where pixels lie in [0, 1].
    stretch : bool (default: False)
        Whether each image's own darkest and brightest pixel become 0 and 255 first.
    """

    resize: int
    size: int
    interpolation: str
    mean: float
    std: float
    stretch: bool = False

    def canonical(self) -> str:
        """Return JSON with sorted keys: part of the key of stored vectors."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def __call__(self, image: Image.Image) -> "Tensor":
        """Return a float32 tensor ``[3, size, size]``."""
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as F

        grey = image.convert("L")
        if self.stretch:
            grey = _stretched(grey)
        resized = F.resize(grey, [self.resize], InterpolationMode(self.interpolation))
        pixels = F.pil_to_tensor(F.center_crop(resized, [self.size, self.size]))
        tensor: Tensor = (pixels.float() / 255 - self.mean) / self.std
        return tensor.expand(3, -1, -1).contiguous()


def _stretched(grey: Image.Image) -> Image.Image:
    pixels = np.asarray(grey, dtype=np.float64)
    span = pixels.max() - pixels.min()
    # Cut, not rounded, as in the authors' code; an image of one level stays black.
    return Image.fromarray((255 * (pixels - pixels.min()) / (span or 1)).astype(np.uint8))
