"""The normal chest, drawn as optical depth: what Beer and Lambert put in the exponent."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedretune.data.phantoms.anatomy import Anatomy
from fedretune.data.phantoms.canvas import (
    Grid,
    Image,
    bump,
    chord,
    ellipse,
    noise,
    smooth,
    splat,
    step,
)

Floats = NDArray[np.float64]

#: Optical depth of the soft tissue of an average chest, and of the air that the lungs put in it.
TISSUE, AIR = 3.5, 2.55


@dataclass
class Chest:
    """A chest being drawn. Findings change these ``[size, size]`` images; `depth` adds them up.

    Attributes
    ----------
    wall : distance to the inner chest wall in units, positive inside
    above : distance to the diaphragm in units, positive above it
    air : air in the beam's way, 0 to about 1
    opacity : share of that air that something denser has replaced, 0 to 1
    vessels : density of the lung's vessels where there is air
    extra : optical depth of everything else that a finding adds or removes
    """

    g: Grid
    body: Anatomy
    view: str
    wall: Image
    above: Image
    silhouette: Image
    air: Image
    vessels: Image
    opacity: Image = field(init=False)
    extra: Image = field(init=False)

    def __post_init__(self) -> None:
        self.opacity = np.zeros_like(self.air)
        self.extra = np.zeros_like(self.air)

    def fill(self, share: Image) -> None:
        """Replace a `share` (0 to 1) of the air that is left with something as dense as water."""
        self.opacity += (np.float32(1.0) - self.opacity) * share

    def half(self, side: int) -> Image:
        """Return ``[1, size]``: 1 on the patient's right (-1) or left (1) side, soft between."""
        return step(self.g.u * np.float32(side) - np.float32(0.02), 0.04)

    def blur(self, image: Image, passes: float) -> Image:
        """Return `image` smoothed by a width that is the same in centimetres at any size."""
        return smooth(image, max(1, round(passes * (self.g.size / 128.0) ** 2)))

    def depth(self) -> Image:
        """Return the optical depth of the whole chest."""
        total = torso(self.g, self.body)
        skeleton = bones(self) * np.minimum(total, np.float32(1.0))
        lung = self.air * (np.float32(1.0) - self.opacity)
        total -= lung * np.float32(AIR)
        total += self.vessels * self.air
        total += skeleton
        total += self.extra
        return np.maximum(total, np.float32(0.02), out=total)


def build(g: Grid, body: Anatomy, view: str, rng: np.random.Generator) -> Chest:
    """Return the chest of a healthy patient with the given anatomy."""
    wall, above = _wall(g, body), _above(g, body)
    silhouette = mediastinum(g, body)
    air = _air(g, body, wall, above)
    air *= np.float32(1.0) - np.float32(0.86) * silhouette
    chest = Chest(g, body, view, wall, above, silhouette, air, np.zeros_like(air))
    chest.vessels = vessel_tree(chest, rng)
    return chest


def _wall(g: Grid, body: Anatomy) -> Image:
    t = np.clip((g.v - body.apex) / (0.62 - body.apex), 0.0, 1.15)
    full = 1.0 - (1.0 - np.minimum(t, 1.0)) ** 4
    shape = 0.5 * (full + np.sqrt(full)) - 0.12 * np.maximum(t - 0.7, 0.0)
    right, left = (np.float32(w) * shape.astype(np.float32) for w in body.lung_width)
    return np.minimum(g.u + right, left - g.u)


def _above(g: Grid, body: Anatomy) -> Image:
    dome = np.empty_like(g.u)
    for k, sign in enumerate((-1.0, 1.0)):
        width = body.lung_width[k]
        t = (g.u * np.float32(sign) - np.float32(0.46 * width)) / np.float32(0.54 * width)
        fall = np.where(t > 0, body.arch * t * t * (0.55 + 0.45 * t * t), 0.30 * body.arch * t * t)
        here = g.u * sign >= 0
        dome[here] = (body.dome[k] + fall)[here]
    return dome - g.v


def _air(g: Grid, body: Anatomy, wall: Image, above: Image) -> Image:
    e = np.clip(wall * np.float32(1.0 / 0.34), 0.0, 1.0)
    inside = np.sqrt(e * (np.float32(2.0) - e))
    low = np.clip((g.v - body.apex) * np.float32(1.0 / 0.55), 0.0, 1.0)
    inside *= (np.float32(0.55) + np.float32(0.45) * low) * np.float32(body.lung_depth)
    recess = np.float32(0.16) * step(above + np.float32(0.10), 0.10)
    return inside * (recess + (np.float32(1.0) - recess) * step(above, 0.014))


def borders(g: Grid, body: Anatomy) -> tuple[Image, Image]:
    """Return the right and left border ``[size, 1]`` of the mediastinum, as positive widths."""
    v = g.v
    top, low = np.float32(-0.12), body.dome[1]
    t = np.clip((v - top) / (low + 0.06 - top), 0.0, 1.3)
    rise = np.minimum(t * 1.15, 1.0)
    ventricle = rise * rise * (3.0 - 2.0 * rise) * np.sqrt(np.maximum(0.0, 1.0 - (t / 1.4) ** 6))
    atrium = bump(((v - (low - 0.20)) / 0.36) ** 2)
    neck = 0.05 * bump(((v + 1.0) / 0.5) ** 2)
    vena = 0.105 + neck + (body.heart[0] - 0.105) * atrium
    knob = body.knob * bump(((v + 0.37) / 0.16) ** 2)
    trunk = body.trunk * bump(((v + 0.16) / 0.17) ** 2)
    left = 0.085 + neck + knob + trunk + (body.heart[1] - 0.085) * ventricle
    return vena.astype(np.float32), left.astype(np.float32)


def mediastinum(g: Grid, body: Anatomy) -> Image:
    """Return how much of the lungs' depth the mediastinum and the heart take, 0 to 1."""
    right, left = borders(g, body)
    inside = np.minimum(g.u + right, left - g.u)
    edge = step(inside, 0.016)
    return edge * (np.float32(0.66) + np.float32(0.34) * step(inside - np.float32(0.08), 0.09))


def torso(g: Grid, body: Anatomy) -> Image:
    """Return the optical depth of the soft tissue: trunk, neck, shoulders, arms, breasts."""
    x = np.abs(g.u)
    shoulder = -0.80 + 0.30 * x * x - 0.55 * bump((x / 0.42) ** 2)
    inside = step(g.v - shoulder.astype(np.float32), 0.035)
    wide = body.body_width + 0.55 * bump(((g.v + 0.85) / 0.62) ** 2)
    trunk = chord((x / wide.astype(np.float32)) ** 2)
    slope = (0.93 + 0.12 * np.clip(g.v + 0.2, -0.6, 0.8)).astype(np.float32)
    total = trunk * slope * np.float32(TISSUE * body.habitus)
    centre = (body.body_width + 0.17 + 0.10 * np.clip(g.v, -0.5, 1.0)).astype(np.float32)
    arm = ((x - centre) * np.float32(1.0 / 0.135)) ** 2
    np.maximum(total, chord(arm) * np.float32(1.5 * body.habitus), out=total)
    total *= inside
    if body.breast:
        size = 0.20 + 0.14 * body.breast
        for sign in (-1.0, 1.0):
            place = ellipse(g, sign * (0.36 + 0.10 * body.breast), 0.12, size, size * 1.15)
            low = np.where(g.v > 0.12, np.float32(0.55), np.float32(0.30))
            total += chord(place) * low * np.float32(body.breast)
    if body.stomach > 0.35:
        bubble = ellipse(g, 0.27, body.dome[1] + 0.15, 0.13 * body.stomach, 0.09)
        total -= chord(bubble) * step(body.dome[1] + 0.17 - g.v, 0.01) * np.float32(1.1)
    return total


def bones(chest: Chest) -> Image:
    """Return the optical depth of ribs, spine, clavicles, scapulae and the tracheal air."""
    g, body = chest.g, chest.body
    total = ribs(chest)
    total += _spine(g, body)
    total += _clavicles(g, body)
    total += _scapulae(g, body)
    total *= np.float32(body.bone)
    for sign in (-1.0, 1.0):
        total += chord(ellipse(g, sign * (body.body_width + 0.12), -0.56, 0.12, 0.13)) * np.float32(
            0.6
        )
    x = (g.u - np.float32(body.trachea)) * np.float32(1.0 / 0.058)
    total -= chord(x * x) * step(np.float32(-0.27) - g.v, 0.05) * np.float32(0.75)
    return total


def ribs(chest: Chest) -> Image:
    """Return posterior and anterior arcs; each family is one periodic function of a phase."""
    g, body = chest.g, chest.body
    x = np.abs(g.u - np.float32(body.spine * 0.5))
    gap, slope = body.rib_gap, body.rib_slope
    outer = np.maximum(x - 0.42, 0.0)
    curve = (slope * (-0.20 * x + 0.86 * x * x) + 1.3 * outer * outer).astype(np.float32)
    lean = np.float32(1.0) + np.float32(0.45) * g.v
    back = (g.v - curve * lean) * np.float32(1.0 / gap) + np.float32(body.rib_phase)
    front_curve = (-slope * (1.15 * x - 0.35 * x * x)).astype(np.float32)
    front = (g.v - front_curve) * np.float32(1.0 / (gap * 1.22)) + np.float32(body.rib_phase)
    cage = step(chest.wall + np.float32(0.035), 0.03)
    cage *= step(g.v - np.float32(body.apex - 0.02), 0.04) * (
        np.float32(0.35) + np.float32(0.65) * step(chest.above + np.float32(0.03), 0.1)
    )
    behind = _band(back, 0.185) * step(x - 0.07, 0.03)
    ahead = _band(front, 0.20) * step(x - 0.27, 0.10) * step(g.v + np.float32(0.62), 0.1)
    edge = np.float32(1.0) + np.float32(0.8) * step(np.float32(0.07) - chest.wall, 0.07)
    behind *= np.float32(0.33)
    ahead *= np.float32(0.16)
    behind += ahead
    behind *= edge
    return behind * cage


def _band(phase: Image, half: float) -> Image:
    """Return ribs of a half width `half` of the gap, with the brighter rims of cortical bone."""
    f = phase - np.floor(phase) - np.float32(0.5)
    square = f * f
    rim = np.float32(0.72) + square * np.float32(0.5 / (half * half))
    return step(np.float32(half) - np.abs(f), 0.07) * rim


def _spine(g: Grid, body: Anatomy) -> Image:
    centre = body.spine + body.scoliosis * np.clip(g.v * (1 - g.v * g.v), -0.4, 0.4)
    x = np.abs(g.u - centre.astype(np.float32))
    phase = g.v * np.float32(1.0 / 0.125) + np.float32(body.rib_phase)
    f = np.abs(phase - np.floor(phase) - np.float32(0.5))
    vertebra = np.float32(0.55) + np.float32(0.45) * step(np.float32(0.40) - f, 0.08)
    column = step(np.float32(0.088) - x, 0.018) * vertebra
    pedicle = bump(((x - 0.052) * (1 / 0.022)) ** 2) * bump((f * (1 / 0.2)) ** 2)
    spinous = bump((x * (1 / 0.018)) ** 2) * bump(((f - 0.25) * (1 / 0.2)) ** 2)
    column *= np.float32(0.70)
    pedicle *= np.float32(0.35)
    spinous *= np.float32(0.30)
    return column + pedicle + spinous


def _clavicles(g: Grid, body: Anatomy) -> Image:
    x = np.abs(g.u - np.float32(body.spine * 0.4))
    wave = 0.55 * (x - 0.1) * (x - 0.45) * (x - 0.9) * 4.0
    line = body.clavicle - 0.17 * (x - 0.1) + 0.35 * wave
    along = step(x - np.float32(0.075), 0.02) * step(np.float32(0.88) - x, 0.05)
    thick = 0.030 + 0.012 * bump(((x - 0.1) / 0.12) ** 2)
    across = (g.v - line.astype(np.float32)) / thick.astype(np.float32)
    across *= across
    return (
        step(np.float32(1.0) - across, 0.45)
        * (along * np.float32(0.8))
        * (np.float32(0.75) + np.float32(0.4) * across)
    )


def _scapulae(g: Grid, body: Anatomy) -> Image:
    x = np.abs(g.u)
    t = (g.v + np.float32(0.60)) * np.float32(1.0 / 0.66)
    inner = np.float32(body.scapula) + np.float32(0.05) * t
    width = np.float32(0.36) * (np.float32(1.0) - np.clip(t, 0.0, 1.0)) + np.float32(0.03)
    inside = np.minimum(x - inner, inner + width - x)
    blade = step(inside, 0.02) * step(t, 0.05) * step(np.float32(1.0) - t, 0.05)
    rim = np.float32(0.5) + np.float32(0.9) * step(np.float32(0.03) - inside, 0.02)
    return blade * rim * np.float32(0.24)


def hila(body: Anatomy) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the centres (u, v) of the right and the left hilum; the left one is higher."""
    return (-0.185 + body.spine, -0.08), (0.175 + body.spine, -0.13)


def vessel_tree(chest: Chest, rng: np.random.Generator) -> Image:
    """Return hila and branching vessels; fuller below than above, as gravity has it."""
    trunks, twigs, weights = [], [], []
    for side, (u, v) in zip((-1, 1), hila(chest.body), strict=True):
        angle = np.linspace(-1.45, 1.45, 13) + rng.uniform(-0.1, 0.1, 13)
        lower = np.sin(angle)
        length = (0.40 + 0.22 * np.abs(lower)) * rng.uniform(0.75, 1.2, 13)
        bend = rng.uniform(-0.5, 0.5, 13)
        main = _branches(u, v, side, angle, length, bend)
        trunks.append(main)
        full = np.where(lower > -0.1, 1.0, chest.body.upper_vessels)
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
    image = _draw_vessels(chest, trunks, twigs, weights)
    for u, v in hila(chest.body):
        hump = bump(ellipse(chest.g, u, v, 0.10, 0.17))
        hump *= np.float32(0.75 * chest.body.hilum)
        hump *= np.float32(1.0) + np.float32(0.6) * noise(rng, chest.g.size, 12)
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
    chest: Chest, trunks: list[Floats], twigs: list[Floats], weights: list[Floats]
) -> Image:
    taper = np.linspace(1.0, 0.15, 24) * chest.body.vessels
    thick = np.concatenate(trunks)
    full = np.concatenate([weights[0], weights[2]])[:, None]
    coarse = splat(chest.g, thick[:, 0].ravel(), thick[:, 1].ravel(), (full * taper).ravel())
    thin = np.concatenate(twigs)
    full = np.concatenate([weights[1], weights[3]])[:, None]
    fine = splat(chest.g, thin[:, 0].ravel(), thin[:, 1].ravel(), (full * taper).ravel())
    image = chest.blur(coarse, 2) * np.float32(1.0)
    image += chest.blur(fine, 1) * np.float32(0.42)
    return image
