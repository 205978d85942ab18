"""Who is in the data: patients, their findings over time, the sites that see them.

Findings come from five latent causes, so that they occur together as in hospitals: a failing heart
brings effusion, oedema and a large silhouette at once. Each patient's draws come from a stream of
their own, so the same patient is the same whatever the number of patients.
"""

from datetime import date, timedelta
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedretune.data.phantoms.drawing import stream
from fedretune.errors import UserError, one_of
from fedretune.findings import NIH14

Floats = NDArray[np.float64]

#: Where patients come from: no patient of one is a patient of the other, whatever the seeds.
NAMESPACES = {"run": "p", "pretraining": "t"}

#: Share of images with each finding, in the order of `NIH14`; about as in ChestX-ray14.
PREVALENCE = (0.115, 0.06, 0.13, 0.16, 0.06, 0.07, 0.05, 0.055, 0.06, 0.05, 0.045, 0.04, 0.05, 0.03)

#: What each finding owes to: heart failure, infection, airways, tumour, scarring, bed rest.
LOADINGS = np.array(
    [
        (0.35, 0.15, 0.00, 0.10, 0.00, 0.70),
        (0.80, 0.00, -0.10, 0.00, 0.10, 0.05),
        (0.60, 0.15, 0.00, 0.20, 0.00, 0.55),
        (0.15, 0.60, 0.10, 0.00, 0.15, 0.05),
        (0.00, 0.00, 0.15, 0.75, 0.00, 0.00),
        (0.00, 0.05, 0.10, 0.75, 0.15, 0.00),
        (0.05, 0.80, 0.05, 0.00, 0.00, 0.15),
        (0.00, 0.00, 0.60, 0.10, 0.10, 0.30),
        (0.10, 0.70, 0.00, 0.05, 0.00, 0.40),
        (0.85, 0.10, -0.15, 0.00, 0.00, 0.20),
        (-0.10, 0.00, 0.85, 0.10, 0.15, 0.00),
        (0.05, 0.05, 0.25, 0.00, 0.75, 0.00),
        (0.00, 0.10, 0.05, 0.15, 0.70, 0.10),
        (0.15, 0.00, 0.00, 0.00, 0.35, 0.00),
    ]
)

_CAUSES = 6

#: Chance of 1 to 6 images.
_IMAGES = (0.40, 0.22, 0.15, 0.10, 0.08, 0.05)
_MOST = len(_IMAGES)
_TRAIN, _VALIDATION = 0.65, 0.10


def sample_cohort(patients: int, sites: int, seed: int, namespace: str = "run") -> pd.DataFrame:
    """Return the manifest's rows of a cohort, an image each, and what drawing them needs.

    Parameters
    ----------
    patients, sites : int
        How many, at least 1. Sites differ in size, prevalence and share of AP views.
    seed : int
        Any integer. The same patient is drawn alike whatever `patients` is.
    namespace : str (default: "run")
        "run" or "pretraining"; their patients have nothing in common.

    Returns
    -------
    pandas.DataFrame
        ``image patient split site view date``, a column of 0 and 1 for each of `NIH14`, then
        ``number`` and ``severity FINDING`` (0 barely visible to 1), which `manifest_of` drops.

    Raises
    ------
    UserError
        If `patients` or `sites` is below 1, or `namespace` is unknown.
    """
    one_of("namespace of phantoms", namespace, NAMESPACES)
    for name, value in (("patients", patients), ("sites", sites)):
        if value < 1:
            raise UserError(f"--{name} must be at least 1, not {value}.")
    cuts, shift, portable = _sites(namespace, seed, sites)
    rows = []
    for index in range(patients):
        patient = f"{NAMESPACES[namespace]}{index:06d}"
        rng = stream(namespace, seed, patient, "history")
        site = int(np.searchsorted(cuts, rng.random(), side="right"))
        split, count, days, sick, score = _history(rng)
        rank = _cdf(score + shift[site])
        for number in range(count):
            ap = bool(rng.random() < portable[site] + 0.18 * sick)
            rows.append((patient, split, site, number, ap, days[number], rank[number]))
    return _table(rows)


def manifest_of(cohort: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a cohort that a manifest has."""
    return cohort[["image", "patient", "split", "site", "view", "date", *NIH14]]


def _sites(namespace: str, seed: int, sites: int) -> tuple[Floats, Floats, Floats]:
    """Return cumulative sizes ``[S]``, shifts of the findings ``[S, 14]``, shares of AP ``[S]``."""
    rng = stream(namespace, seed, "sites", sites)
    size = rng.uniform(0.6, 1.4, sites)
    shift = rng.normal(0.0, 0.16, (sites, len(NIH14)))
    share = np.cumsum(size / size.sum())
    share[-1] = 1.0
    return share, shift, rng.uniform(0.2, 0.6, sites)


def _history(rng: np.random.Generator) -> tuple[str, int, list[int], float, Floats]:
    """Return a patient's split, images, days of exams, sickness and scores ``[6, 14]``."""
    place = float(rng.random())
    split = "train" if place < _TRAIN else "val" if place < _TRAIN + _VALIDATION else "test"
    count = 1 + int(np.searchsorted(np.cumsum(_IMAGES)[:-1], rng.random(), side="right"))
    first, waits = int(rng.integers(0, 5 * 365)), 1 + rng.exponential(45.0, _MOST - 1).astype(int)
    days = [first, *(first + np.cumsum(waits)).tolist()]
    cause = rng.standard_normal(_CAUSES)
    lasting, passing = rng.standard_normal(len(NIH14)), rng.standard_normal((_MOST, len(NIH14)))
    own = np.sqrt(0.72) * lasting + np.sqrt(0.28) * passing
    score = LOADINGS @ cause + own * np.sqrt(1.0 - (LOADINGS**2).sum(axis=1))
    return split, count, days, float(cause[0] + cause[5]) / 2.0**0.5, score


def _cdf(score: Floats) -> Floats:
    normal = NormalDist()
    return np.array([[normal.cdf(x) for x in row] for row in score])


def _table(rows: list[tuple[str, str, int, int, bool, int, Floats]]) -> pd.DataFrame:
    patient, split, site, number, ap, day, rank = zip(*rows, strict=True)
    prevalence = np.array(PREVALENCE)
    # How far a rank is above the threshold is uniform on 0..1; it lasts as the disease does.
    excess = (np.stack(rank) - (1.0 - prevalence)) / prevalence
    severity = np.where(excess > 0, 0.1 + 0.9 * np.sqrt(excess.clip(0.0, 1.0)), 0.0)
    first = date(2015, 1, 1)
    table = {
        "image": [f"images/{p}_{n:02d}.png" for p, n in zip(patient, number, strict=True)],
        "patient": patient,
        "split": split,
        "site": [f"site-{s + 1}" for s in site],
        "view": ["AP" if a else "PA" for a in ap],
        "date": [(first + timedelta(days=int(d))).isoformat() for d in day],
    }
    labels = {f: (severity[:, k] > 0).astype(np.int64) for k, f in enumerate(NIH14)}
    hidden = {f"severity {f}": severity[:, k] for k, f in enumerate(NIH14)}
    return pd.DataFrame({**table, **labels, "number": number, **hidden})
