"""Findings of the pleural space, and of the shape of the chest."""

from dataclasses import replace

import numpy as np

from fedretune.data.phantoms.anatomy import Anatomy
from fedretune.data.phantoms.canvas import bump, ellipse, noise, scaled, splat, step
from fedretune.data.phantoms.chest import Chest
from fedretune.data.phantoms.lesion import Lesion, mottle


def pneumothorax(chest: Chest, lesion: Lesion) -> None:
    """Draw the visceral pleura's line with nothing but black air between it and the ribs."""
    g, side = chest.g, lesion.side
    high = np.clip((chest.body.dome[side > 0] - g.v) * np.float32(1.0 / 0.95), 0.0, 1.0)
    gap = lesion.grow(0.030, 0.10) + lesion.grow(0.07, 0.34) * high * high
    gap = gap.astype(np.float32) + noise(lesion.rng, g.size, 3) * np.float32(0.02)
    half = chest.half(side)
    inward = chest.wall - gap
    line = bump(scaled(inward, 0.0, 0.024)) * half
    outside = step(-inward, 0.012) * half * step(chest.wall, 0.01) * step(chest.above, 0.02)
    chest.vessels *= np.float32(1.0) - outside
    chest.opacity *= np.float32(1.0) - outside
    chest.extra -= outside * np.minimum(chest.air, 1.0) * np.float32(lesion.grow(0.22, 0.50))
    visible = np.minimum(chest.air * np.float32(2.0), 1.0)
    chest.extra += line * visible * np.float32(lesion.grow(0.24, 0.42))
    collapsed = step(inward, 0.03) * half
    chest.fill(collapsed * np.float32(0.30 * lesion.severity * lesion.severity))


def pleural_thickening(chest: Chest, lesion: Lesion) -> None:
    """Draw an uneven band along the wall and a cap on the apex; plaques may calcify."""
    for side in lesion.sides:
        g = chest.g
        uneven = mottle(chest, lesion, 7, 0.55)
        centre = lesion.between(-0.35, 0.30)
        along = bump(scaled(g.v, centre, 0.62))
        thick = np.float32(lesion.grow(0.032, 0.085)) * uneven * np.sqrt(along)
        band = step(thick - chest.wall, 0.014) * step(chest.wall, 0.012) * chest.half(side)
        chest.extra += band * np.float32(lesion.grow(0.45, 1.15))
        cap = np.float32(chest.body.apex + lesion.grow(0.07, 0.17)) - g.v
        cap = step(cap + noise(lesion.rng, g.size, 10) * np.float32(0.03), 0.02) * chest.half(side)
        chest.fill(cap * np.float32(lesion.grow(0.30, 0.85)))
        if lesion.rng.random() < 0.45:
            _plaque(chest, lesion, side)


def _plaque(chest: Chest, lesion: Lesion, side: int) -> None:
    count = 40
    v = lesion.between(-0.3, 0.2) + lesion.rng.uniform(-0.14, 0.14, count)
    u = side * (chest.body.lung_width[side > 0] - 0.05 - 0.05 * lesion.rng.random(count))
    flecks = chest.blur(splat(chest.g, u, v, 1.6), 1)
    chest.extra += flecks * np.float32(lesion.grow(0.25, 0.9)) * step(chest.wall, 0.02)


def grow_heart(body: Anatomy, lesion: Lesion) -> Anatomy:
    """Return a heart wider than half the chest, mostly to the left and rounder at its apex."""
    ratio = lesion.grow(0.525, 0.68) + lesion.between(-0.01, 0.01)
    total, share = ratio * sum(body.lung_width), lesion.between(0.34, 0.40)
    return replace(body, heart=(total * share, total * (1.0 - share)), trunk=body.trunk + 0.02)


def lose_volume(body: Anatomy, lesion: Lesion) -> Anatomy:
    """Raise the diaphragm of the collapsed side and draw the midline towards it."""
    rise, shift = lesion.grow(0.03, 0.13), lesion.side * lesion.grow(0.0, 0.03)
    dome = list(body.dome)
    dome[lesion.side > 0] -= rise
    return replace(
        body,
        dome=(dome[0], dome[1]),
        trachea=body.trachea + shift,
        heart=(body.heart[0] - shift, body.heart[1] + shift),
    )


def overinflate(body: Anatomy, lesion: Lesion) -> Anatomy:
    """Push flat diaphragms down, thin the vessels, blacken the lungs, narrow the heart."""
    down, thin = lesion.grow(0.04, 0.16), lesion.grow(0.92, 0.68)
    right, left = body.lung_width
    return replace(
        body,
        dome=(body.dome[0] + down, body.dome[1] + down),
        arch=body.arch * lesion.grow(0.75, 0.35),
        lung_depth=body.lung_depth * lesion.grow(1.03, 1.15),
        lung_width=(right * lesion.grow(1.01, 1.07), left * lesion.grow(1.01, 1.07)),
        heart=(body.heart[0] * thin, body.heart[1] * thin),
        vessels=body.vessels * lesion.grow(0.8, 0.40),
        bulla=lesion.severity,
        rib_gap=body.rib_gap * lesion.grow(1.02, 1.12),
    )


def emphysema(chest: Chest, lesion: Lesion) -> None:
    """Draw bullae: thin-walled, vessel-free pockets of air, in the upper lobes above all."""
    g = chest.g
    for side in (-1, 1):
        for _ in range(2):
            u = side * lesion.between(0.25, 0.5)
            v = chest.body.apex + lesion.between(0.16, 0.5)
            radius = lesion.grow(0.07, 0.20)
            square = ellipse(g, u, v, radius, radius)
            inside = step(np.float32(1.0) - square, 0.25)
            chest.vessels *= np.float32(1.0) - np.float32(0.9) * inside
            air = np.minimum(chest.air, 1.0)
            chest.extra -= inside * air * np.float32(lesion.grow(0.06, 0.22))
            rim = bump(scaled(square, 1.0, 0.29))
            chest.extra += rim * air * np.float32(lesion.grow(0.02, 0.12))
