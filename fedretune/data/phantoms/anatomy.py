"""One patient's chest, as numbers. Units: about 20 cm; `u` to the image's right, `v` down.

The image's left is the patient's right, as a radiologist hangs a film.
"""

from dataclasses import dataclass, replace

import numpy as np

RIGHT, LEFT = -1, 1


@dataclass(frozen=True)
class Anatomy:
    """The sizes that make one chest differ from another. Pairs are (right, left)."""

    lung_width: tuple[float, float]
    apex: float
    dome: tuple[float, float]
    arch: float
    lung_depth: float
    heart: tuple[float, float]
    heart_low: float
    knob: float
    trunk: float
    habitus: float
    body_width: float
    breast: float
    rib_phase: float
    rib_gap: float
    rib_slope: float
    clavicle: float
    scapula: float
    spine: float
    scoliosis: float
    trachea: float
    hilum: float
    vessels: float
    upper_vessels: float
    bone: float
    stomach: float
    bulla: float

    @property
    def cardiothoracic_ratio(self) -> float:
        """Width of the heart over the inner width of the chest."""
        return sum(self.heart) / sum(self.lung_width)

    def angle(self, side: int) -> float:
        """Height `v` of the costophrenic angle of a side."""
        return self.dome[side > 0] + self.arch


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a healthy adult, erect and facing the detector (PA)."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    width, dome, female = between(0.56, 0.70), between(0.24, 0.38), rng.random() < 0.45
    ratio, share = between(0.38, 0.475), between(0.33, 0.40)
    habitus = between(0.88, 1.22)
    return Anatomy(
        lung_width=(width + between(-0.015, 0.015), width + between(-0.015, 0.015)),
        apex=between(-0.84, -0.72),
        dome=(dome, dome + between(0.0, 0.07)),
        arch=between(0.20, 0.30),
        lung_depth=between(0.92, 1.08),
        heart=(2 * width * ratio * share, 2 * width * ratio * (1 - share)),
        heart_low=between(0.0, 1.0),
        knob=between(0.06, 0.13),
        trunk=between(0.02, 0.07),
        habitus=habitus,
        body_width=width + 0.16 * habitus + between(0.02, 0.22),
        breast=between(0.25, 1.0) if female else 0.0,
        rib_phase=between(0.0, 1.0),
        rib_gap=between(0.125, 0.155),
        rib_slope=between(0.75, 1.3),
        clavicle=between(-0.62, -0.50),
        scapula=between(0.66, 0.84),
        spine=between(-0.02, 0.02),
        scoliosis=between(-0.035, 0.035),
        trachea=between(-0.03, 0.005),
        hilum=between(0.7, 1.3),
        vessels=between(0.75, 1.25),
        upper_vessels=between(0.5, 0.8),
        bone=between(0.75, 1.25),
        stomach=between(0.0, 1.0),
        bulla=0.0,
    )


def position(body: Anatomy, view: str, rng: np.random.Generator) -> Anatomy:
    """Return the chest as this exposure sees it: breath, rotation, lordosis, PA or AP.

    In AP the heart lies farther from the detector and is magnified, the patient sits or lies and
    breathes in less, and the scapulae are not rolled out of the way.
    """
    breath, turn, lordosis = rng.normal(0.0, 0.03), rng.normal(0.0, 0.018), rng.normal(0.0, 0.03)
    grow, rise, scapula = (1.14, 0.10, 0.16) if view == "AP" else (1.0, 0.0, 0.0)
    up = float(breath) + rise
    right, left = body.lung_width
    return replace(
        body,
        dome=(body.dome[0] - up, body.dome[1] - up),
        apex=body.apex + 0.25 * rise,
        lung_width=(right - float(turn) * 0.7, left + float(turn) * 0.7),
        heart=(body.heart[0] * grow - float(turn), body.heart[1] * grow + float(turn)),
        spine=body.spine - float(turn),
        trachea=body.trachea + float(turn) * 0.5,
        clavicle=body.clavicle - float(lordosis) - 0.3 * rise,
        scapula=body.scapula - scapula,
        upper_vessels=min(1.0, body.upper_vessels + 2.0 * rise),
    )
