"""What all findings are drawn with: an irregular patch, a lobe, a bundle of lines."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedretune.data.phantoms.canvas import Image, ellipse, fractal, noise, splat, step
from fedretune.data.phantoms.chest import Chest
from fedretune.data.phantoms.vessels import hila


@dataclass(frozen=True)
class Lesion:
    """One finding of one patient: how bad in this image, and where for good.

    Attributes
    ----------
    severity : 0 (barely visible) to 1 (severe)
    side : -1 the patient's right, 1 left; a finding that is on both sides starts on this one
    both : whether the other side has it too
    rng : the finding's own stream, the same in all of a patient's images
    """

    severity: float
    side: int
    both: bool
    rng: np.random.Generator

    @property
    def sides(self) -> tuple[int, ...]:
        """The sides that have the finding, worse one first."""
        return (self.side, -self.side) if self.both else (self.side,)

    def between(self, low: float, high: float) -> float:
        """Draw from the finding's stream."""
        return float(self.rng.uniform(low, high))

    def grow(self, mild: float, severe: float) -> float:
        """Return the value that lies at this severity between `mild` and `severe`."""
        return mild + (severe - mild) * self.severity


def patch(
    chest: Chest,
    lesion: Lesion,
    place: tuple[float, float],
    radii: tuple[float, float],
    ragged: float,
    soft: float,
) -> Image:
    """Return a ``[size, size]`` region in 0..1 about `place`, with a ragged outline.

    `ragged` is how far noise moves the outline, `soft` the width of its edge, both as shares of
    the radius.
    """
    square = ellipse(chest.g, *place, *radii, tilt=lesion.between(-0.5, 0.5))
    cells = int(np.clip(2.2 / max(radii), 4, 24))
    outline = np.sqrt(square) + fractal(lesion.rng, chest.g.size, cells) * np.float32(ragged)
    return step(np.float32(1.0) - outline, soft)


def mottle(chest: Chest, lesion: Lesion, cells: int, depth: float) -> Image:
    """Return a texture with mean about 1 that varies by `depth`."""
    return np.float32(1.0) + fractal(lesion.rng, chest.g.size, cells) * np.float32(depth)


def spot(chest: Chest, lesion: Lesion, side: int, low: float, high: float) -> tuple[float, float]:
    """Draw a place in the lung of a side; `low`, `high` bound its height (0 apex, 1 diaphragm)."""
    body = chest.body
    t = lesion.between(low, high)
    v = body.apex + t * (body.dome[side > 0] - body.apex)
    outer = body.lung_width[side > 0] * (1.0 - (1.0 - min(1.0, 0.12 + 0.8 * t)) ** 5)
    return side * (0.22 + lesion.between(0.15, 0.75) * max(outer - 0.22, 0.05)), v


def lobe(chest: Chest, lesion: Lesion, side: int, which: str) -> Image:
    """Return a lobe, 0..1: sharp where a fissure bounds it, ragged elsewhere.

    `which` is "upper", "middle" (right side only; the lingula on the left) or "lower".
    """
    g, body = chest.g, chest.body
    fissure = body.apex + 0.56 * (body.dome[side > 0] - body.apex) + lesion.between(-0.03, 0.03)
    slope = np.float32(lesion.between(0.05, 0.30))
    down = g.v - np.float32(fissure) - slope * (np.abs(g.u) - np.float32(0.35))
    down += noise(lesion.rng, g.size, 3) * np.float32(0.04)
    wavy = noise(lesion.rng, g.size, 7) * np.float32(0.07)
    ragged = down + wavy
    if which == "upper":
        region = step(-down, 0.018)
    elif which == "middle":
        medial = step(np.float32(0.62 * body.lung_width[side > 0]) - np.abs(g.u) - wavy, 0.10)
        region = step(down, 0.018) * medial
    else:
        region = step(ragged + np.float32(0.10) * (np.abs(g.u) - np.float32(0.3)), 0.10)
    return region * chest.half(side)


def lines(
    chest: Chest,
    start: NDArray[np.float64],
    angle: NDArray[np.float64],
    length: NDArray[np.float64],
    weight: NDArray[np.float64],
    thick: float,
) -> Image:
    """Return straight strokes; `start` is ``[n, 2]`` (u, v), the others ``[n]``, in units."""
    count = int(np.clip(np.ceil(length.max() * chest.g.size * 0.6), 4, 64 * chest.g.size // 128))
    t = np.linspace(0.0, 1.0, count)
    u = start[:, :1] + (length * np.cos(angle))[:, None] * t
    v = start[:, 1:] + (length * np.sin(angle))[:, None] * t
    each = np.broadcast_to((weight * length * 64.0 / count)[:, None], u.shape)
    return chest.blur(splat(chest.g, u.ravel(), v.ravel(), each.ravel()), thick)


def from_hilum(chest: Chest, side: int) -> tuple[Image, tuple[float, float]]:
    """Return the distance to the hilum of a side ``[size, size]`` and its centre."""
    centre = hila(chest.body)[side > 0]
    return np.sqrt(ellipse(chest.g, *centre, 1.0, 1.0)), centre
