"""Drawing on an array: grids, soft edges, value noise, strokes, a small warp.

Pixel arithmetic is kept to ``+ - * / sqrt`` and gathers, which IEEE 754 defines exactly, so that
an image is the same on any CPU; `exp`, `sin` and BLAS, which are not, stay off the pixels.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a square image: `u` to the right and `v` downwards, both from -1 to 1.

    `u` is ``[1, size]``, `v` is ``[size, 1]``; one unit is about 20 cm of the patient.
    """

    size: int
    u: Image
    v: Image

    @property
    def pixel(self) -> float:
        """Width of a pixel in units."""
        return 2.0 / self.size


@lru_cache(maxsize=8)
def grid(size: int) -> Grid:
    """Return the grid of a `size` x `size` image; shared, so never written to."""
    axis = ((np.arange(size) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    axis.flags.writeable = False
    return Grid(size, axis[None, :], axis[:, None])


def step(x: Image, width: float) -> Image:
    """Return a smooth step of `x`: 0 below ``-width``, 1 above ``width``, cubic between."""
    t = x * np.float32(0.5 / width)
    t += np.float32(0.5)
    np.clip(t, 0.0, 1.0, out=t)
    stepped: Image = t * t * (np.float32(3.0) - (t + t))
    return stepped


def scaled(x: Image, centre: float, radius: float) -> Image:
    """Return ``((x - centre) / radius)**2``, what `bump` and `chord` want of one axis."""
    t = (x - np.float32(centre)) * np.float32(1.0 / radius)
    squared: Image = t * t
    return squared


def bump(square: Image) -> Image:
    """Return ``max(0, 1 - square)**2``, a bell of compact support where `square` is (r/R)**2."""
    t = np.float32(1.0) - square
    np.maximum(t, 0.0, out=t)
    return t * t


def chord(square: Image) -> Image:
    """Return ``sqrt(max(0, 1 - square))``: the path through a ball where `square` is (r/R)**2."""
    t = np.float32(1.0) - square
    np.maximum(t, 0.0, out=t)
    path: Image = np.sqrt(t)
    return path


def ellipse(g: Grid, u: float, v: float, a: float, b: float, tilt: float = 0.0) -> Image:
    """Return (r/R)**2 of an ellipse at (u, v) with half axes `a`, `b`, sheared by `tilt`."""
    x = g.u - np.float32(u)
    y = g.v - np.float32(v)
    x = x + y * np.float32(tilt) if tilt else x
    x = x * np.float32(1.0 / a)
    y = y * np.float32(1.0 / b)
    return x * x + y * y


@lru_cache(maxsize=64)
def _weights(size: int, cells: int) -> tuple[NDArray[np.intp], Any]:
    place = (np.arange(size) + 0.5) / size * cells
    left = np.floor(place).astype(np.intp)
    t = (place - left).astype(np.float32)
    return left, t * t * (3.0 - 2.0 * t)


def noise(rng: np.random.Generator, size: int, cells: int, rows: int = 0) -> Image:
    """Return smooth value noise ``[size, size]`` in [-1, 1], `cells` across and `rows` down."""
    rows = rows or cells
    knots = rng.random((rows + 1, cells + 1), dtype=np.float32) * np.float32(2.0) - np.float32(1.0)
    top, t = _weights(size, rows)
    left, s = _weights(size, cells)
    near = knots[:, left]
    wide = near + (knots[:, left + 1] - near) * s[None, :]
    upper = wide[top]
    field: Image = upper + (wide[top + 1] - upper) * t[:, None]
    return field


def fractal(rng: np.random.Generator, size: int, cells: int) -> Image:
    """Return three octaves of `noise`, about [-1, 1]."""
    total = noise(rng, size, cells)
    total += noise(rng, size, cells * 2) * np.float32(0.5)
    total += noise(rng, size, cells * 4) * np.float32(0.3)
    return total * np.float32(0.75)


def smooth(image: Image, passes: int = 1) -> Image:
    """Return `image` after `passes` of the binomial 1-2-1 filter in both directions."""
    for _ in range(passes):
        rows = np.empty_like(image)
        rows[1:-1] = image[:-2] + image[2:]
        rows[0], rows[-1] = image[0] + image[1], image[-1] + image[-2]
        rows += image + image
        out = np.empty_like(image)
        out[:, 1:-1] = rows[:, :-2] + rows[:, 2:]
        out[:, 0], out[:, -1] = rows[:, 0] + rows[:, 1], rows[:, -1] + rows[:, -2]
        out += rows + rows
        image = out * np.float32(1.0 / 16.0)
    return image


def spread(g: Grid, image: Image, passes: float) -> Image:
    """Return `image` smoothed by a width that is the same in centimetres at any size."""
    return smooth(image, max(1, round(passes * (g.size / 128.0) ** 2)))


def splat(g: Grid, u: NDArray[np.float64], v: NDArray[np.float64], weight: object) -> Image:
    """Return an image with each point's `weight` shared among the four pixels around it.

    Weights are per unit of area at 128 x 128, so that a line keeps its density at any size.
    """
    half = g.size / 2.0
    x = np.clip((u + 1.0) * half - 0.5, 0.0, g.size - 1.001)
    y = np.clip((v + 1.0) * half - 0.5, 0.0, g.size - 1.001)
    left, top = x.astype(np.intp), y.astype(np.intp)
    s, t = x - left, y - top
    w = np.broadcast_to(np.asarray(weight, dtype=np.float64) * (g.size / 128.0), u.shape)
    corner = top * g.size + left
    index = np.concatenate([corner, corner + 1, corner + g.size, corner + g.size + 1])
    share = [w * (1 - s) * (1 - t), w * s * (1 - t), w * (1 - s) * t, w * s * t]
    total = np.bincount(index, np.concatenate(share), minlength=g.size * g.size)
    return total.reshape(g.size, g.size).astype(np.float32)


def warp(image: Image, du: Image, dv: Image) -> Image:
    """Return `image` read at (u + du, v + dv), bilinear; `du`, `dv` in units, ``[size, size]``."""
    size = image.shape[0]
    g = grid(size)
    half = np.float32(size / 2.0)
    x = np.clip((g.u + du + np.float32(1.0)) * half - np.float32(0.5), 0.0, size - 1.001)
    y = np.clip((g.v + dv + np.float32(1.0)) * half - np.float32(0.5), 0.0, size - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    s, t = x - left.astype(np.float32), y - top.astype(np.float32)
    flat, corner = image.reshape(-1), top * size + left
    a, b = flat[corner], flat[corner + 1]
    upper = a + (b - a) * s
    corner += size
    c, d = flat[corner], flat[corner + 1]
    lower = c + (d - c) * s
    moved: Image = upper + (lower - upper) * t
    return moved
