"""The pooled histograms of a model's last evaluation: ``histograms/<model>.safetensors``.

ROC curves and reliability diagrams are made of them. Their size depends on the findings alone: all
sites and experiences are added up.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.paths import writing

FOLDER = "histograms"


@dataclass(frozen=True)
class Histograms:
    """All sites' and experiences' counts of one evaluation.

    Parameters
    ----------
    counts : ndarray
        Shape ``[2 (rule), F, 2 (negatives, positives), bins]``, whole numbers; the rules are in the
        order of `fedretune.evaluation.RULES`.
    edges : ndarray
        Shape ``[2 (rule), F, bins + 1]``, between which they were counted.
    scale : float
        What turns a score of the `difference` rule into a logit.
    after : int
        The experience after which it was, from 0; -1 before any.
    """

    counts: NDArray[np.integer[Any]]
    edges: NDArray[np.floating[Any]]
    scale: float
    after: int


def write_histograms(run: Path, model: str, histograms: Histograms) -> None:
    """Write a model's histograms in the place of those before; the same bytes for the same ones."""
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {
        "after": np.array([histograms.after], dtype=np.int64),
        "counts": np.ascontiguousarray(histograms.counts, dtype=np.int64),
        "edges": np.ascontiguousarray(histograms.edges, dtype=np.float32),
        "scale": np.array([histograms.scale], dtype=np.float64),
    }
    with writing(run / FOLDER / f"{model}.safetensors") as file:
        file.write(save(tensors))


def read_histograms(run: Path, model: str, findings: int) -> Histograms | None:
    """Return a model's histograms of so many findings; None where there are no sound ones."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = run / FOLDER / f"{model}.safetensors"
    try:
        found = load_file(path)
        counts, edges = found["counts"], found["edges"]
        scale, after = float(found["scale"][0]), int(found["after"][0])
    except (OSError, SafetensorError, KeyError, IndexError, ValueError):
        return None
    expected = (2, findings, 2, edges.shape[-1] - 1)
    if counts.shape != expected or edges.shape[:2] != (2, findings) or (counts < 0).any():
        return None
    return Histograms(counts, edges, scale, after)
