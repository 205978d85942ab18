"""Who was in the batch: the space that the gradient of a linear layer spans.

A linear layer W x + b whose inputs were x_1 ... x_B has the gradient sum of g_i x_i^T: its rows lie
in the span of the inputs. So after one step of plain SGD on few images a candidate was in the batch
if its own input lies in that span, and hardly any other does (the span check of DAGER, Petrov et
al. 2024, arXiv 2405.15586, for images' vectors). Threat model: a server that keeps what it sent and
what one site answered, or only their mean (behind secure aggregation), and holds candidates'
vectors; labels are not needed. The g_i are combinations of the findings' prompts, so that there are
hardly more of them than findings: with more images than that nobody lies in the span whole, though
members still lie more in it than others. After many steps, or one of Adam, the span tells less.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedretune.adaptors import ProbeSpec, Spec
from fedretune.privacy.attacks.inversion import ROUNDING, Array, Vector, prefix_of

#: Singular values this many times as large as what rounding makes are the update's own.
CLEAR = 8.0


def by_span(
    spec: Spec, sent: Mapping[str, Array], answered: Mapping[str, Array], candidates: Array
) -> Vector:
    """Return the share ``[n]`` of each candidate's input that lies in the update's span, at most 1.

    Parameters
    ----------
    spec : Spec
    sent, answered : mapping of a name to an array
        The tensors of the adaptor before, and after.
    candidates : float32 array [n, d]
        The backbone's vectors of images.

    Raises
    ------
    UserError
        The adaptor has no linear layer that images alone go through.
    """
    prefix = prefix_of(spec)
    name = f"{prefix}output.weight"
    hidden = f"{prefix}hidden.weight" in sent
    inputs = _inputs(spec, candidates)
    if hidden:
        weight, bias = (sent[f"{prefix}hidden.{part}"] for part in ("weight", "bias"))
        inputs = np.maximum(inputs @ weight.T.astype(np.float64) + bias, 0.0)
    change = sent[name].astype(np.float64) - answered[name].astype(np.float64)
    axes = _axes(change, float(np.abs(answered[name]).max()))
    lengths = np.linalg.norm(inputs, axis=1)
    inside = np.linalg.norm(inputs @ axes.T, axis=1)
    shares: Vector = inside / np.maximum(lengths, 1e-30)
    return shares


def _axes(change: Vector, largest: float) -> Vector:
    """Return an orthonormal basis ``[r, inputs]`` of a change's rows, without rounding's."""
    _, values, axes = np.linalg.svd(change, full_matrices=False)
    found: Vector = axes[values > _floor(change.shape, largest)]
    return found


def _floor(shape: tuple[int, ...], largest: float) -> float:
    """Return the largest singular value that rounding is expected to make.

    Each weight is off by half its last bit at most; a matrix of independent errors e has none above
    about ``e (sqrt rows + sqrt columns)``.
    """
    return CLEAR * ROUNDING * largest * (math.sqrt(shape[0]) + math.sqrt(shape[1])) / 2


def _inputs(spec: Spec, vectors: Array) -> NDArray[np.float64]:
    """Return what the first layer is given for images' vectors."""
    found = vectors.astype(np.float64)
    if isinstance(spec, ProbeSpec) or getattr(spec, "residual", False):
        found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30)
    if isinstance(spec, ProbeSpec):
        found = found * np.sqrt(spec.dim)
    return found
