"""From a row of a cohort to an image: which finding changes the anatomy, which is drawn on it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.data.phantoms import airspace, pleura
from fedretune.data.phantoms.anatomy import Anatomy, position, sample_anatomy
from fedretune.data.phantoms.canvas import grid, noise, warp
from fedretune.data.phantoms.chest import Chest, build
from fedretune.data.phantoms.devices import lines_and_tubes
from fedretune.data.phantoms.lesion import Lesion
from fedretune.data.phantoms.scanner import expose, finish, scanner
from fedretune.findings import NIH14
from fedretune.seeds import derive_seed

Film = NDArray[np.uint8]

#: Findings that change the anatomy, applied in this order.
SHAPES: Mapping[str, Callable[[Anatomy, Lesion], Anatomy]] = {
    "Emphysema": pleura.overinflate,
    "Cardiomegaly": pleura.grow_heart,
    "Atelectasis": pleura.lose_volume,
    "Fibrosis": pleura.lose_volume,
}

#: Findings drawn on the chest, in this order: pleural air last, for it displaces the lung.
DRAWINGS: Mapping[str, Callable[[Chest, Lesion], None]] = {
    "Emphysema": pleura.emphysema,
    "Edema": airspace.edema,
    "Infiltration": airspace.infiltration,
    "Pneumonia": airspace.pneumonia,
    "Consolidation": airspace.consolidation,
    "Atelectasis": airspace.atelectasis,
    "Fibrosis": airspace.fibrosis,
    "Mass": airspace.mass,
    "Nodule": airspace.nodule,
    "Hernia": airspace.hernia,
    "Pneumothorax": pleura.pneumothorax,
    "Effusion": airspace.effusion,
    "Pleural Thickening": pleura.pleural_thickening,
}

#: Chance that a finding is on both sides.
BILATERAL = {
    "Effusion": 0.4,
    "Infiltration": 0.5,
    "Pneumonia": 0.25,
    "Consolidation": 0.2,
    "Atelectasis": 0.3,
    "Pleural Thickening": 0.4,
    "Fibrosis": 0.6,
}


def stream(namespace: str, seed: int, *parts: object) -> np.random.Generator:
    """Return the random stream of one thing; runs and pretraining draw from other namespaces."""
    return np.random.Generator(np.random.PCG64(derive_seed("phantoms", namespace, seed, *parts)))


def lesion_of(namespace: str, seed: int, patient: str, finding: str, severity: float) -> Lesion:
    """Return the finding of a patient at a severity, its stream at the start."""
    rng = stream(namespace, seed, patient, finding)
    side = 1 if rng.random() < 0.5 else -1
    both = bool(rng.random() < BILATERAL.get(finding, 0.0))
    return Lesion(severity, side, both, rng)


def draw(
    namespace: str,
    seed: int,
    patient: str,
    number: int,
    view: str,
    site: str,
    severities: Mapping[str, float],
    size: int,
) -> Film:
    """Return one radiograph ``[size, size]``, uint8. `severities` names the findings present."""
    g = grid(size)
    body = sample_anatomy(stream(namespace, seed, patient, "anatomy"))
    film = stream(namespace, seed, patient, number)
    body = position(body, view, film)
    for finding, shape in SHAPES.items():
        if finding in severities:
            body = shape(body, lesion_of(namespace, seed, patient, finding, severities[finding]))
    chest = build(g, body, view, stream(namespace, seed, patient, "vessels"))
    for finding, paint in DRAWINGS.items():
        if finding in severities:
            paint(chest, lesion_of(namespace, seed, patient, finding, severities[finding]))
    if view == "AP":
        lines_and_tubes(chest, film)
    tilt, zoom = np.float32(film.normal(0.0, 0.025)), np.float32(film.normal(0.0, 0.035))
    du = (
        noise(film, size, 4) * np.float32(0.022)
        + tilt * g.v
        + zoom * g.u
        + np.float32(film.normal(0, 0.02))
    )
    dv = (
        noise(film, size, 4) * np.float32(0.022)
        - tilt * g.u
        + zoom * g.v
        + np.float32(film.normal(0, 0.02))
    )
    machine = scanner(namespace, seed, site)
    white = expose(g, warp(chest.depth(), du, dv), machine, film)
    return finish(g, white, machine, view, film)


def draw_row(row: Mapping[Any, Any], seed: int, size: int, namespace: str) -> Film:
    """Return the radiograph of one row of a cohort."""
    present = {f: float(row[f"severity {f}"]) for f in NIH14 if row[f]}
    who = (str(row["patient"]), int(row["number"]))
    return draw(namespace, seed, *who, str(row["view"]), str(row["site"]), present, size)
