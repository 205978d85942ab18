"""Templated radiology reports of phantoms: what phantom-clip's text tower learns to read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fedretune.data.phantoms.anatomy import Anatomy, position, sample_anatomy
from fedretune.data.phantoms.drawing import lesion_of, stream
from fedretune.findings import CHEXPERT5, NIH14
from fedretune.prompts import load_prompts

#: Findings that no report mentions, two easy to see and two hard: the model meets them as new.
UNMENTIONED = ("Pneumonia", "Pneumothorax", "Emphysema", "Hernia")

#: Findings that reports speak of.
MENTIONED = tuple(f for f in NIH14 if f not in UNMENTIONED)

_PROMPTS = load_prompts("precursor")
_POSITIVE = (
    *_PROMPTS.positive,
    "{d} {c}",
    "there is {d} {c} in {p}",
    "{d} {c} is seen in {p}",
    "{c} of {p}",
)
_NEGATIVE = (*_PROMPTS.negative, "no {c} is seen")
_DEGREES = ("minimal", "mild", "moderate", "severe")
_PLACES = {(-1, False): "the right lung", (1, False): "the left lung"}
_BOTH = "both lungs"
_NEUTRAL = {
    "view": ("the view is ap", "the view is pa"),
    "habitus": ("the patient is slim", "the patient is of average build", "the patient is large"),
    "breath": (
        "the lung volumes are low",
        "the lung volumes are normal",
        "the lung volumes are high",
    ),
    "heart": ("the heart is narrow", "the heart is of normal width", "the heart is wide"),
}
#: Findings without a side of their own.
_MIDLINE = ("Cardiomegaly", "Edema", "Hernia", "Emphysema")
_SAID, _ASIDE, _MOST = 0.9, 0.3, 3


@dataclass(frozen=True)
class Facts:
    """What a radiologist would see in one image.

    Attributes
    ----------
    present : finding -> (degree, place), of the `MENTIONED` alone
    asides : sentences about view, build, breath and heart
    """

    present: Mapping[str, tuple[str, str]]
    asides: tuple[str, ...]


def facts_of(cohort: pd.DataFrame, seed: int, namespace: str) -> list[Facts]:
    """Return the facts of each row of a cohort, in its order."""
    return [_facts(row, seed, namespace) for row in cohort.to_dict("records")]


def _facts(row: Mapping[Any, Any], seed: int, namespace: str) -> Facts:
    patient, view = str(row["patient"]), str(row["view"])
    present = {}
    for finding in MENTIONED:
        if row[finding]:
            severity = float(row[f"severity {finding}"])
            lesion = lesion_of(namespace, seed, patient, finding, severity)
            both = lesion.both or finding in _MIDLINE
            place = _BOTH if both else _PLACES[lesion.side, False]
            present[finding] = (_DEGREES[min(3, int(severity * 4))], place)
    body = sample_anatomy(stream(namespace, seed, patient, "anatomy"))
    body = position(body, view, stream(namespace, seed, patient, row["number"]))
    return Facts(present, _asides(body, view))


def _asides(body: Anatomy, view: str) -> tuple[str, ...]:
    ratio, dome = body.cardiothoracic_ratio, sum(body.dome) / 2
    return (
        _NEUTRAL["view"][view == "PA"],
        _NEUTRAL["habitus"][(body.habitus > 0.99) + (body.habitus > 1.11)],
        _NEUTRAL["breath"][(dome > 0.25) + (dome > 0.34)],
        _NEUTRAL["heart"][(ratio > 0.42) + (ratio > 0.47)],
    )


def write_report(facts: Facts, rng: np.random.Generator) -> str:
    """Return one of the many reports that `facts` allow: what is there, 1 to 3 negatives, asides.

    It never names any of `UNMENTIONED`, present or not.
    """
    sentences = []
    for finding, (degree, place) in facts.present.items():
        if rng.random() < _SAID:
            phrase = _POSITIVE[int(rng.integers(len(_POSITIVE)))]
            text = phrase.replace("{d}", degree).replace("{p}", place)
            sentences.append(text.replace("{c}", finding))
    absent = [f for f in MENTIONED if f not in facts.present]
    for index in rng.permutation(len(absent))[: int(rng.integers(1, _MOST + 1))]:
        phrase = _NEGATIVE[int(rng.integers(len(_NEGATIVE)))]
        sentences.append(phrase.replace("{c}", absent[index]))
    sentences += [aside for aside in facts.asides if rng.random() < _ASIDE]
    order = rng.permutation(len(sentences))
    return " . ".join(sentences[i] for i in order).lower()


def vocabulary() -> tuple[str, ...]:
    """Return every word of the templates and of all findings, the unmentioned ones too, sorted."""
    texts = [*_POSITIVE, *_NEGATIVE, *_DEGREES, *_PLACES.values(), _BOTH, "no finding . normal"]
    texts += [sentence for group in _NEUTRAL.values() for sentence in group]
    texts += [*NIH14, *CHEXPERT5, "a chest x ray with lung opacity"]
    words = " ".join(texts).lower().split()
    return tuple(sorted({w for w in words if not w.startswith("{")}))
