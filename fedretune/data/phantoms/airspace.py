"""Findings that fill the lung's air: each as radiology describes it, where it sits."""

import numpy as np

from fedretune.data.phantoms.canvas import Image, bump, ellipse, noise, scaled, splat, step
from fedretune.data.phantoms.chest import Chest
from fedretune.data.phantoms.lesion import (
    Lesion,
    from_hilum,
    lines,
    lobe,
    mottle,
    patch,
    spot,
)


def atelectasis(chest: Chest, lesion: Lesion) -> None:
    """Draw plate-like bands above a raised diaphragm, or a collapsed, wedge-shaped lobe."""
    for side in lesion.sides:
        if lesion.rng.random() < 0.65:
            _plates(chest, lesion, side)
        else:
            _collapse(chest, lesion, side)


def _plates(chest: Chest, lesion: Lesion, side: int) -> None:
    body, count = chest.body, 2 + int(lesion.severity * 2.5)
    width, dome = body.lung_width[side > 0], body.dome[side > 0]
    u = side * lesion.rng.uniform(0.24, 0.36, count)
    v = dome - lesion.rng.uniform(0.05, 0.24, count)
    length = lesion.rng.uniform(0.45, 0.95, count) * (width - 0.2)
    angle = lesion.rng.uniform(-0.30, 0.30, count)
    angle = np.where(side > 0, angle, np.pi - angle)
    weight = lesion.rng.uniform(0.7, 1.0, count) * lesion.grow(0.30, 1.25)
    start = np.stack([u, v], axis=1)
    chest.extra += lines(chest, start, angle, length, weight, 2.0) * chest.air * np.float32(2.0)
    low = step(np.float32(0.16) - chest.above, 0.14) * chest.half(side)
    chest.fill(low * mottle(chest, lesion, 9, 0.4) * np.float32(lesion.grow(0.04, 0.32)))


def _collapse(chest: Chest, lesion: Lesion, side: int) -> None:
    """Draw a lower lobe behind the heart, or an upper lobe with its fissure drawn up."""
    g, dome = chest.g, chest.body.dome[side > 0]
    x = g.u * np.float32(side)
    if lesion.rng.random() < 0.7:
        slope = np.float32(lesion.between(0.42, 0.6))
        reach = np.float32(lesion.grow(0.20, 0.36))
        region = step(reach + (g.v - np.float32(dome)) * slope - x, 0.025)
    else:
        height = np.float32(chest.body.apex + lesion.grow(0.20, 0.36))
        region = step(height - np.float32(0.35) * (x - np.float32(0.2)) - g.v, 0.025)
    chest.fill(region * chest.half(side) * np.float32(lesion.grow(0.18, 0.88)))


def effusion(chest: Chest, lesion: Lesion) -> None:
    """Draw fluid with a meniscus that climbs the wall; a veil over the lung in a supine AP."""
    for k, side in enumerate(lesion.sides):
        amount = lesion.severity * (1.0 if k == 0 else lesion.between(0.4, 0.9))
        x = chest.g.u * np.float32(side) * np.float32(1.0 / chest.body.lung_width[side > 0])
        t = np.clip(x, 0.0, 1.1)
        rise = (0.10 + 0.16 * amount) * t * t * t * t + 0.05 * (1 - t) * (1 - t) * amount
        level = chest.body.angle(side) - 0.02 - (0.05 + 0.62 * amount) - rise
        fluid = step(chest.g.v - level.astype(np.float32), 0.022 + 0.02 * amount)
        chest.fill(fluid * chest.half(side) * np.float32(0.93))
        recess = step(-chest.above, 0.02) * step(chest.wall, 0.03) * chest.half(side)
        chest.extra += fluid * recess * np.float32(0.15)
        if chest.view == "AP":
            fade = np.clip((chest.g.v - chest.body.apex) * np.float32(0.9), 0.0, 1.0)
            chest.fill(fade * chest.half(side) * np.float32(0.30 * amount))


def infiltration(chest: Chest, lesion: Lesion) -> None:
    """Draw ill-defined patchy haze in several places, never confluent."""
    for side in lesion.sides:
        for _ in range(3 + int(lesion.between(0, 2.99))):
            place = spot(chest, lesion, side, 0.30, 0.97)
            size = lesion.between(0.13, 0.24)
            region = patch(chest, lesion, place, (size, size), 0.55, 0.75)
            texture = np.clip(mottle(chest, lesion, 22, 0.9), 0.0, 1.8)
            chest.fill(region * texture * np.float32(lesion.grow(0.09, 0.34)))


def mass(chest: Chest, lesion: Lesion) -> None:
    """Draw a tumour over 3 cm: lobulated, or with spicules that reach into the lung."""
    radius = lesion.grow(0.085, 0.17) * lesion.between(0.92, 1.12)
    u, v = spot(chest, lesion, lesion.side, 0.15, 0.85)
    soft = lesion.between(0.12, 0.28)
    body = patch(chest, lesion, (u, v), (radius, radius * lesion.between(0.8, 1.1)), 0.22, soft)
    lobule = lesion.rng.uniform(-0.6, 0.6, 2) * radius
    second = patch(
        chest, lesion, (u + lobule[0], v + lobule[1]), (radius * 0.8, radius * 0.75), 0.2, soft
    )
    body = np.maximum(body, second)
    body *= mottle(chest, lesion, 20, 0.12)
    chest.extra += body * np.float32(lesion.grow(0.34, 1.15))
    chest.vessels *= np.float32(1.0) - np.minimum(body, 1.0)
    if lesion.rng.random() < 0.6:
        _spicules(chest, lesion, (u, v), radius)


def _spicules(chest: Chest, lesion: Lesion, place: tuple[float, float], radius: float) -> None:
    count = 22
    angle = lesion.rng.uniform(0.0, 2 * np.pi, count)
    start = np.stack(
        [place[0] + 0.7 * radius * np.cos(angle), place[1] + 0.7 * radius * np.sin(angle)], 1
    )
    length = radius * lesion.rng.uniform(0.5, 1.1, count)
    weight = np.full(count, lesion.grow(0.12, 0.40))
    chest.extra += lines(chest, start, angle, length, weight, 1.0) * np.minimum(chest.air, 1.0)


def nodule(chest: Chest, lesion: Lesion) -> None:
    """Draw one to three round opacities under 3 cm; old ones calcify and are dense."""
    count = 1 + (lesion.rng.random() < 0.3) + (lesion.rng.random() < 0.12)
    calcified = lesion.rng.random() < 0.25
    for _ in range(count):
        place = spot(chest, lesion, int(lesion.rng.choice((-1, 1))), 0.12, 0.92)
        radius = lesion.grow(0.036, 0.068) * lesion.between(0.85, 1.05)
        radius *= 0.8 if calcified else 1.0
        region = patch(chest, lesion, place, (radius, radius), 0.12, 0.35)
        chest.extra += region * np.float32(lesion.grow(0.42, 1.05) * (1.4 if calcified else 1.0))


def pneumonia(chest: Chest, lesion: Lesion) -> None:
    """Draw a segment's airspace opacity, denser at its heart, crossed by air bronchograms."""
    for side in lesion.sides:
        place = spot(chest, lesion, side, 0.42, 0.92)
        size = lesion.grow(0.17, 0.28)
        region = patch(chest, lesion, place, (size, size * lesion.between(0.7, 0.95)), 0.38, 0.42)
        if lesion.rng.random() < 0.5:
            region *= lobe(chest, lesion, side, "middle" if place[1] > -0.05 else "upper")
        region *= mottle(chest, lesion, 14, 0.45)
        region = np.clip(region, 0.0, 1.0) * np.float32(lesion.grow(0.20, 0.78))
        tubes = _bronchograms(chest, lesion, side, place)
        chest.fill(region * (np.float32(1.0) - np.float32(0.6) * np.minimum(tubes, 1.0)))
        chest.vessels *= np.float32(1.0) - region


def _bronchograms(chest: Chest, lesion: Lesion, side: int, place: tuple[float, float]) -> Image:
    """Return the bronchi that stay open, fanning from the hilum's side through a place."""
    _, (u, v) = from_hilum(chest, side)
    heading = np.arctan2(place[1] - v, place[0] - u)
    angle = heading + np.linspace(-0.55, 0.55, 6) + lesion.rng.uniform(-0.08, 0.08, 6)
    far = float(np.hypot(place[0] - u, place[1] - v))
    near = 0.45 * far
    start = np.stack(
        [u + near * np.cos(heading) + 0 * angle, v + near * np.sin(heading) + 0 * angle], 1
    )
    return lines(chest, start, angle, np.full(6, 0.55 * far + 0.16), np.full(6, 1.5), 1.0)


def consolidation(chest: Chest, lesion: Lesion) -> None:
    """Draw a lobe filled dense and even up to its fissure; vessels and borders vanish in it."""
    for side in lesion.sides:
        which = ("upper", "middle", "lower", "lower")[int(lesion.rng.integers(4))]
        region = lobe(chest, lesion, side, which)
        u, v = (
            spot(chest, lesion, side, 0.25, 0.4)
            if which == "upper"
            else spot(chest, lesion, side, 0.75, 0.85)
        )
        size = lesion.grow(0.26, 0.52)
        extent = patch(chest, lesion, (u, v), (size, size * 0.9), 0.30, 0.25)
        region *= extent
        region *= mottle(chest, lesion, 8, 0.10)
        region = np.clip(region, 0.0, 1.0)
        chest.fill(region * np.float32(lesion.grow(0.24, 0.92)))
        chest.vessels *= np.float32(1.0) - region


def edema(chest: Chest, lesion: Lesion) -> None:
    """Draw bat wings about both hila, Kerley's B lines at the edge, full upper vessels."""
    chest.vessels = chest.blur(chest.vessels, 1 + 2 * lesion.severity)
    high = step(np.float32(-0.10) - chest.g.v, 0.2)
    chest.vessels *= np.float32(1.0) + high * np.float32(lesion.grow(0.35, 1.0))
    for side in (-1, 1):
        distance, _ = from_hilum(chest, side)
        outline = distance * np.float32(1.0 / lesion.grow(0.34, 0.52))
        outline += noise(lesion.rng, chest.g.size, 9) * np.float32(0.22)
        wing = bump(outline * outline * np.float32(0.8)) * chest.half(side)
        wing *= mottle(chest, lesion, 16, 0.40)
        chest.fill(np.clip(wing, 0.0, 1.0) * np.float32(lesion.grow(0.17, 0.85)))
        chest.extra += _kerley(chest, lesion, side)
    base = step(np.float32(0.30) - chest.above, 0.30)
    chest.fill(base * np.float32(lesion.grow(0.03, 0.22)))


def _kerley(chest: Chest, lesion: Lesion, side: int) -> Image:
    count, body = 10, chest.body
    v = (
        body.angle(side)
        - 0.16
        - np.linspace(0.0, 0.36, count)
        + lesion.rng.uniform(-0.01, 0.01, count)
    )
    u = np.full(count, side * (body.lung_width[side > 0] - 0.015))
    angle = np.where(side > 0, np.pi, 0.0) + lesion.rng.uniform(-0.12, 0.12, count)
    weight = np.full(count, lesion.grow(0.10, 0.42))
    strokes = lines(
        chest, np.stack([u, v], 1), angle, lesion.rng.uniform(0.06, 0.11, count), weight, 1.0
    )
    return strokes * step(chest.wall, 0.01)


def fibrosis(chest: Chest, lesion: Lesion) -> None:
    """Draw a net of short lines and honeycombs, at the bases' edge or pulling up the apices."""
    basal = lesion.rng.random() < 0.7
    for side in (-1, 1) if basal else lesion.sides:
        centres = _net(chest, lesion, side, basal)
        count = len(centres)
        rings = lesion.rng.uniform(0.022, 0.045, count)
        turn = np.linspace(0.0, 2 * np.pi, 14)
        u = centres[:, :1] + rings[:, None] * np.cos(turn)
        v = centres[:, 1:] + rings[:, None] * np.sin(turn)
        comb = chest.blur(splat(chest.g, u.ravel(), v.ravel(), 0.42), 1)
        angle = lesion.rng.uniform(0.0, np.pi, count)
        length = lesion.rng.uniform(0.05, 0.16, count)
        net = comb + lines(chest, centres, angle, length, np.full(count, 0.55), 1.0)
        chest.extra += net * np.minimum(chest.air, 1.0) * np.float32(lesion.grow(0.34, 1.05))
        where = np.minimum(chest.blur(net, 12) * np.float32(1.2), 1.0)
        chest.fill(where * np.float32(lesion.grow(0.07, 0.32)))


def _net(chest: Chest, lesion: Lesion, side: int, basal: bool) -> np.ndarray:
    body, count = chest.body, 60 + int(80 * lesion.severity)
    width = body.lung_width[side > 0]
    if not basal:
        v = body.apex + 0.06 + 0.36 * lesion.rng.random(count)
        return np.stack([side * (0.15 + (width - 0.22) * lesion.rng.random(count)), v], 1)
    edge = np.sqrt(lesion.rng.random(count))
    v = body.angle(side) - 0.10 - 0.52 * lesion.rng.random(count) ** 1.4
    return np.stack([side * (0.24 + (width - 0.27) * edge), v], 1)


def hernia(chest: Chest, lesion: Lesion) -> None:
    """Draw a stomach slid up behind the heart: a round wall, air above a level of fluid."""
    g, radius = chest.g, lesion.grow(0.10, 0.20)
    u = chest.body.spine + lesion.between(-0.03, 0.12)
    v = chest.body.dome[1] - radius * lesion.between(0.45, 0.8)
    square = ellipse(g, u, v, radius * lesion.between(0.95, 1.25), radius)
    inside = step(np.float32(1.0) - square, 0.12)
    wall = bump(scaled(square, 0.9, 0.26))
    level = np.float32(v + radius * lesion.between(-0.1, 0.35))
    gas = inside * step(level - g.v, 0.012)
    strength = np.float32(lesion.grow(0.35, 1.0))
    chest.extra += (inside - gas) * np.float32(0.75) * strength
    chest.extra += wall * np.float32(0.45) * strength
    chest.extra -= gas * np.float32(1.35) * strength
