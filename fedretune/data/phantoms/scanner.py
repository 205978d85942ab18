"""The X-ray machine of a site: beam, noise, detector response, collimation, side marker."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedretune.data.phantoms.canvas import Grid, Image, smooth, step
from fedretune.seeds import derive_seed

_GLYPHS = {
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "A": ("01110", "10001", "10001", "11111", "10001", "10001", "10001"),
    "P": ("11110", "10001", "10001", "11110", "10000", "10000", "10000"),
}


@dataclass(frozen=True)
class Scanner:
    """What one site's machine does to every image.

    Attributes
    ----------
    contrast : slope of the film curve against optical depth
    speed : optical depth that comes out mid-grey
    gamma : 0 keeps the film's curve, positive brightens the mid-greys, negative darkens them
    photons : quanta in a pixel behind no patient
    blur : share of the light that spreads to neighbours, 0 to 1
    scatter : share of the beam that arrives as a veil
    collimation : unexposed border in units (left, top, right, bottom)
    marker : letter, its place (u, v) for "L", its pixel in units
    """

    contrast: float
    speed: float
    gamma: float
    photons: float
    blur: float
    scatter: float
    collimation: tuple[float, float, float, float]
    shutter: float
    marker: str
    marker_place: tuple[float, float]
    marker_size: float
    circled: bool


@lru_cache(maxsize=1024)
def scanner(namespace: str, seed: int, site: str) -> Scanner:
    """Return the machine of `site`."""
    rng = np.random.default_rng(derive_seed("phantoms", namespace, seed, "scanner", site))

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    border = rng.random(4) < 0.4
    return Scanner(
        contrast=between(1.0, 1.45),
        speed=between(1.65, 2.0),
        gamma=between(-0.25, 0.35),
        photons=10 ** between(2.9, 3.7),
        blur=between(0.0, 0.8),
        scatter=between(0.004, 0.02),
        collimation=tuple(float(b) * between(0.02, 0.10) for b in border),  # type: ignore[arg-type]
        shutter=0.0 if rng.random() < 0.5 else 1.0,
        marker="L" if rng.random() < 0.7 else "R",
        marker_place=(between(0.70, 0.86), between(-0.90, -0.70)),
        marker_size=between(0.014, 0.021),
        circled=bool(rng.random() < 0.3),
    )


def expose(g: Grid, depth: Image, machine: Scanner, rng: np.random.Generator) -> Image:
    """Return the film's blackening's complement, 0 (black) to 1 (white), of an optical depth.

    Beer-Lambert gives the share of the beam that arrives; counting its quanta is Poisson, here by
    its normal limit (hundreds of quanta); the film answers by the curve of Hurter and Driffield,
    a sigmoid in the logarithm of the exposure.
    """
    speed = machine.speed + float(rng.normal(0.0, 0.10))
    contrast = machine.contrast * float(rng.uniform(0.94, 1.06))
    beam = decay(depth)
    if machine.blur:
        beam += (smooth(beam) - beam) * np.float32(machine.blur)
    beam += np.float32(machine.scatter)
    grain = rng.standard_normal(beam.shape, dtype=np.float32)
    beam += np.sqrt(beam) * grain * np.float32(1.0 / np.sqrt(machine.photons))
    np.maximum(beam, 1e-4, out=beam)
    middle = float(np.exp(-speed))
    steep = beam * np.float32(1.0 / middle)
    # x**contrast for contrast in 1..1.5, by a blend of x and x**1.5, exact on any CPU.
    share = np.float32(2.0 * (contrast - 1.0))
    steep = steep * ((np.float32(1.0) - share) + share * np.sqrt(steep))
    white = np.float32(1.0) / (np.float32(1.0) + steep)
    white += white * (np.float32(1.0) - white) * np.float32(machine.gamma)
    film: Image = white
    return film


def decay(depth: Image) -> Image:
    """Return about ``exp(-depth)`` as ``(1 - depth / 64)**64``: products alone, alike anywhere."""
    t = np.float32(1.0) - depth * np.float32(1.0 / 64.0)
    for _ in range(6):
        t *= t
    return t


def finish(
    g: Grid, white: Image, machine: Scanner, view: str, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Add the collimator's edges and the side marker; return grey levels, uint8."""
    left, top, right, bottom = machine.collimation
    jitter = rng.uniform(0.0, 0.03, 4)
    wide = np.minimum(g.u + 1.0 - left, 1.0 - right - g.u) - jitter[0] * (left + right > 0)
    tall = np.minimum(g.v + 1.0 - top, 1.0 - bottom - g.v) - jitter[1] * (top + bottom > 0)
    if left + right > 0:
        white += (np.float32(machine.shutter) - white) * step(-wide.astype(np.float32), 0.015)
    if top + bottom > 0:
        white += (np.float32(machine.shutter) - white) * step(-tall.astype(np.float32), 0.015)
    letters = machine.marker + ("AP" if view == "AP" and machine.circled else "")
    u, v = machine.marker_place
    u = u if machine.marker == "L" else -u
    _stamp(g, white, letters, u + jitter[2], v + jitter[3], machine)
    white *= np.float32(255.0)
    white += np.float32(0.5)
    return np.clip(white, 0.0, 255.0).astype(np.uint8)


def _stamp(g: Grid, white: Image, letters: str, u: float, v: float, machine: Scanner) -> None:
    dot = max(machine.marker_size, g.pixel)
    rows = [[int(c) for c in "0".join(_GLYPHS[x][r] for x in letters)] for r in range(7)]
    glyph = np.array(rows, dtype=np.float32)
    tall, wide = glyph.shape
    u = min(u, 0.98 - wide * dot)
    axis_u = np.floor((g.u[0] - u) / dot).astype(int)
    axis_v = np.floor((g.v[:, 0] - v) / dot).astype(int)
    (cols,) = np.nonzero((axis_u >= 0) & (axis_u < wide))
    (lines,) = np.nonzero((axis_v >= 0) & (axis_v < tall))
    if cols.size and lines.size:
        patch = glyph[np.ix_(axis_v[lines], axis_u[cols])]
        here = np.ix_(lines, cols)
        white[here] += (np.float32(0.97) - white[here]) * patch
