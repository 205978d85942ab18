"""Bones, and the air of the windpipe, as optical depth."""

import numpy as np

from fedretune.data.phantoms.anatomy import Anatomy
from fedretune.data.phantoms.canvas import Grid, Image, bump, chord, ellipse, scaled, step


def bones(g: Grid, body: Anatomy, wall: Image, above: Image) -> Image:
    """Return the optical depth of ribs, spine, clavicles, scapulae and the tracheal air."""
    total = ribs(g, body, wall, above)
    total += _spine(g, body)
    total += _clavicles(g, body)
    total += _scapulae(g, body)
    total *= np.float32(body.bone)
    for sign in (-1.0, 1.0):
        humerus = ellipse(g, sign * (body.body_width + 0.12), -0.56, 0.12, 0.13)
        total += chord(humerus) * np.float32(0.6)
    x = (g.u - np.float32(body.trachea)) * np.float32(1.0 / 0.058)
    total -= chord(x * x) * step(np.float32(-0.27) - g.v, 0.05) * np.float32(0.75)
    return total


def ribs(g: Grid, body: Anatomy, wall: Image, above: Image) -> Image:
    """Return posterior and anterior arcs; each family is one periodic function of a phase."""
    x = np.abs(g.u - np.float32(body.spine * 0.5))
    gap, slope = body.rib_gap, body.rib_slope
    outer = np.maximum(x - 0.42, 0.0)
    curve = (slope * (-0.20 * x + 0.86 * x * x) + 1.3 * outer * outer).astype(np.float32)
    lean = np.float32(1.0) + np.float32(0.45) * g.v
    back = (g.v - curve * lean) * np.float32(1.0 / gap) + np.float32(body.rib_phase)
    front_curve = (-slope * (1.15 * x - 0.35 * x * x)).astype(np.float32)
    front = (g.v - front_curve) * np.float32(1.0 / (gap * 1.22)) + np.float32(body.rib_phase)
    cage = step(wall + np.float32(0.035), 0.03)
    cage *= step(g.v - np.float32(body.apex - 0.02), 0.04) * (
        np.float32(0.35) + np.float32(0.65) * step(above + np.float32(0.03), 0.1)
    )
    behind = _band(back, 0.185) * step(x - 0.07, 0.03)
    ahead = _band(front, 0.20) * step(x - 0.27, 0.10) * step(g.v + np.float32(0.62), 0.1)
    edge = np.float32(1.0) + np.float32(0.8) * step(np.float32(0.07) - wall, 0.07)
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
    pedicle = bump(scaled(x, 0.052, 0.022)) * bump(scaled(f, 0.0, 0.2))
    spinous = bump(scaled(x, 0.0, 0.018)) * bump(scaled(f, 0.25, 0.2))
    column *= np.float32(0.70)
    pedicle *= np.float32(0.35)
    spinous *= np.float32(0.30)
    column += pedicle
    column += spinous
    return column


def _clavicles(g: Grid, body: Anatomy) -> Image:
    x = np.abs(g.u - np.float32(body.spine * 0.4))
    wave = 0.55 * (x - 0.1) * (x - 0.45) * (x - 0.9) * 4.0
    line = body.clavicle - 0.17 * (x - 0.1) + 0.35 * wave
    along = step(x - np.float32(0.075), 0.02) * step(np.float32(0.88) - x, 0.05)
    thick = 0.030 + 0.012 * bump(scaled(x, 0.1, 0.12))
    across = (g.v - line.astype(np.float32)) / thick.astype(np.float32)
    across *= across
    rim = np.float32(0.75) + np.float32(0.4) * across
    bone: Image = step(np.float32(1.0) - across, 0.45) * (along * np.float32(0.8)) * rim
    return bone


def _scapulae(g: Grid, body: Anatomy) -> Image:
    x = np.abs(g.u)
    t = (g.v + np.float32(0.60)) * np.float32(1.0 / 0.66)
    inner = np.float32(body.scapula) + np.float32(0.05) * t
    width = np.float32(0.36) * (np.float32(1.0) - np.clip(t, 0.0, 1.0)) + np.float32(0.03)
    inside = np.minimum(x - inner, inner + width - x)
    blade = step(inside, 0.02) * step(t, 0.05) * step(np.float32(1.0) - t, 0.05)
    rim = np.float32(0.5) + np.float32(0.9) * step(np.float32(0.03) - inside, 0.02)
    return blade * rim * np.float32(0.24)
