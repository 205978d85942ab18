"""The normal chest, drawn as optical depth: what Beer and Lambert put in the exponent."""

from dataclasses import dataclass, field

import numpy as np

from fedretune.data.phantoms.anatomy import Anatomy
from fedretune.data.phantoms.canvas import Grid, Image, bump, chord, ellipse, scaled, spread, step
from fedretune.data.phantoms.skeleton import bones
from fedretune.data.phantoms.vessels import vessel_tree

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
        return spread(self.g, image, passes)

    def depth(self) -> Image:
        """Return the optical depth of the whole chest."""
        total = torso(self.g, self.body)
        skeleton = bones(self.g, self.body, self.wall, self.above) * np.minimum(
            total, np.float32(1.0)
        )
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
    return Chest(g, body, view, wall, above, silhouette, air, vessel_tree(g, body, rng))


def _wall(g: Grid, body: Anatomy) -> Image:
    t = np.clip((g.v - body.apex) / (0.62 - body.apex), 0.0, 1.15)
    full = 1.0 - (1.0 - np.minimum(t, 1.0)) ** 4
    shape = 0.5 * (full + np.sqrt(full)) - 0.12 * np.maximum(t - 0.7, 0.0)
    right, left = (np.float32(w) * shape.astype(np.float32) for w in body.lung_width)
    inside: Image = np.minimum(g.u + right, left - g.u)
    return inside


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
    air: Image = inside * (recess + (np.float32(1.0) - recess) * step(above, 0.014))
    return air


def borders(g: Grid, body: Anatomy) -> tuple[Image, Image]:
    """Return the right and left border ``[size, 1]`` of the mediastinum, as positive widths."""
    v = g.v
    top, low = np.float32(-0.12), body.dome[1]
    t = np.clip((v - top) / (low + 0.06 - top), 0.0, 1.3)
    rise = np.minimum(t * 1.15, 1.0)
    ventricle = rise * rise * (3.0 - 2.0 * rise) * np.sqrt(np.maximum(0.0, 1.0 - (t / 1.4) ** 6))
    atrium = bump(scaled(v, low - 0.20, 0.36))
    neck = 0.05 * bump(scaled(v, -1.0, 0.5))
    vena = 0.105 + neck + (body.heart[0] - 0.105) * atrium
    knob = body.knob * bump(scaled(v, -0.37, 0.16))
    trunk = body.trunk * bump(scaled(v, -0.16, 0.17))
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
    shoulder = -0.80 + 0.30 * x * x - 0.55 * bump(scaled(x, 0.0, 0.42))
    inside = step(g.v - shoulder.astype(np.float32), 0.035)
    wide = body.body_width + 0.55 * bump(scaled(g.v, -0.85, 0.62))
    ratio = (x / wide).astype(np.float32)
    trunk = chord(ratio * ratio)
    slope = (0.93 + 0.12 * np.clip(g.v + 0.2, -0.6, 0.8)).astype(np.float32)
    total = trunk * slope * np.float32(TISSUE * body.habitus)
    centre = (body.body_width + 0.17 + 0.10 * np.clip(g.v, -0.5, 1.0)).astype(np.float32)
    arm = ((x - centre) * np.float32(1.0 / 0.135)) ** 2
    np.maximum(total, chord(arm) * np.float32(1.5 * body.habitus), out=total)
    total *= inside
    _breasts(g, body, total)
    if body.stomach > 0.35:
        bubble = ellipse(g, 0.27, body.dome[1] + 0.15, 0.13 * body.stomach, 0.09)
        level = np.float32(body.dome[1] + 0.17) - g.v
        total -= chord(bubble) * step(level, 0.01) * np.float32(1.1)
    soft: Image = total
    return soft


def _breasts(g: Grid, body: Anatomy, total: Image) -> None:
    if not body.breast:
        return
    size = 0.20 + 0.14 * body.breast
    low = np.where(g.v > 0.12, np.float32(0.55), np.float32(0.30)) * np.float32(body.breast)
    for sign in (-1.0, 1.0):
        place = ellipse(g, sign * (0.36 + 0.10 * body.breast), 0.12, size, size * 1.15)
        total += chord(place) * low
