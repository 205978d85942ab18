"""Hila and the lung's branching vessels."""

import numpy as np
from numpy.typing import NDArray

from fedretune.data.phantoms.anatomy import Anatomy
from fedretune.data.phantoms.canvas import Grid, Image, bump, ellipse, noise, splat, spread

Floats = NDArray[np.float64]


def hila(body: Anatomy) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the centres (u, v) of the right and the left hilum; the left one is higher."""
    return (-0.185 + body.spine, -0.08), (0.175 + body.spine, -0.13)


def vessel_tree(g: Grid, body: Anatomy, rng: np.random.Generator) -> Image:
    """Return hila and branching vessels; fuller below than above, as gravity has it."""
    trunks, twigs, weights = [], [], []
    for side, (u, v) in zip((-1, 1), hila(body), strict=True):
        angle = np.linspace(-1.45, 1.45, 13) + rng.uniform(-0.1, 0.1, 13)
        lower = np.sin(angle)
        length = (0.40 + 0.22 * np.abs(lower)) * rng.uniform(0.75, 1.2, 13)
        bend = rng.uniform(-0.5, 0.5, 13)
        main = _branches(u, v, side, angle, length, bend)
        trunks.append(main)
        full = np.where(lower > -0.1, 1.0, body.upper_vessels)
        weights.append(full)
        start = rng.integers(5, 18, (13, 3))
        origin = np.take_along_axis(main, start[:, None, :].repeat(2, 1), axis=2)
        turn = rng.choice((-1.0, 1.0), (13, 3)) * rng.uniform(0.35, 0.8, (13, 3))
        short = length[:, None] * (1.05 - start / 24.0) * rng.uniform(0.5, 0.9, (13, 3))
        flat = (angle[:, None] + bend[:, None] * start / 24.0 + turn).reshape(-1)
        twigs.append(
            _branches(
                origin[:, 0].reshape(-1),
                origin[:, 1].reshape(-1),
                side,
                flat,
                short.reshape(-1),
                -0.6 * turn.reshape(-1),
            )
        )
        weights.append(np.repeat(full, 3))
    image = _draw_vessels(g, body, trunks, twigs, weights)
    for u, v in hila(body):
        hump = bump(ellipse(g, u, v, 0.10, 0.17))
        hump *= np.float32(0.75 * body.hilum)
        hump *= np.float32(1.0) + np.float32(0.6) * noise(rng, g.size, 12)
        image += hump
    return image


def _branches(
    u: object, v: object, side: int, angle: object, length: object, bend: object
) -> Floats:
    t = np.linspace(0.1, 1.0, 24)
    angle, length, bend = (np.asarray(z, dtype=np.float64)[:, None] for z in (angle, length, bend))
    heading = angle + bend * t
    first = np.broadcast_to(np.asarray(u, dtype=np.float64), angle.shape[:1])[:, None]
    second = np.broadcast_to(np.asarray(v, dtype=np.float64), angle.shape[:1])[:, None]
    across = first + side * length * t * np.cos(heading)
    return np.stack([across, second + length * t * np.sin(heading)], axis=1)


def _draw_vessels(
    g: Grid, body: Anatomy, trunks: list[Floats], twigs: list[Floats], weights: list[Floats]
) -> Image:
    taper = np.linspace(1.0, 0.15, 24) * body.vessels
    thick = np.concatenate(trunks)
    full = np.concatenate([weights[0], weights[2]])[:, None]
    coarse = splat(g, thick[:, 0].ravel(), thick[:, 1].ravel(), (full * taper).ravel())
    thin = np.concatenate(twigs)
    full = np.concatenate([weights[1], weights[3]])[:, None]
    fine = splat(g, thin[:, 0].ravel(), thin[:, 1].ravel(), (full * taper).ravel())
    image = spread(g, coarse, 2) * np.float32(1.0)
    image += spread(g, fine, 1) * np.float32(0.42)
    return image
