"""An image's vector from one step of SGD: gradient inversion of linear layers.

A linear layer W x + b that one input went through has gradients g x^T and g: each row of the first
over the entry of the second is the input (Phong et al. 2018, "Privacy-Preserving Deep Learning via
Additively Homomorphic Encryption"; Geiping et al. 2020, arXiv 2003.14053). Threat
model: a server that keeps what it sent and what one site answered, after one step of plain SGD on a
batch of one image. The learning rate need not be known: it is the same in both. With more images
the answer is a mixture of them; after a step of Adam all entries have the same size and only
signs are left, so that what comes out is the input no more, though it may be nearest to it.

An adaptor with `residual` starts with a last layer of zeros, through which no gradient reaches the
first: then the last layer gives the hidden units h = relu(W x + b), and those above zero are linear
equations for x, nearly as many as it has numbers. What they leave open is taken from the mean and
the spread of vectors of other images, if the attacker has some, as whoever has the public backbone.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedretune.adaptors import WIRINGS, AdaptorSpec, ProbeSpec, Spec, TunedSpec
from fedretune.errors import UserError

Array = NDArray[np.float32]
Vector = NDArray[np.float64]

#: Half a float32's last bit, as a share of it: what a weight is rounded by at most.
ROUNDING = 2.0**-24
#: A change this many times as large as rounding is a gradient.
CLEAR = 3.0
#: A change so large, though it is not clear, is a better guess than a public mean.
GUESS = 1.0


def invert(
    spec: Spec,
    sent: Mapping[str, Array],
    answered: Mapping[str, Array],
    public: Array | None = None,
) -> Vector:
    """Return the direction ``[d]``, of length 1, of the vector that was trained on.

    Parameters
    ----------
    spec : Spec
    sent, answered : mapping of a name to an array
        The tensors of the adaptor before the step, and after.
    public : float32 array [m, d], optional
        The backbone's vectors of other images.

    Raises
    ------
    UserError
        The adaptor has no linear layer that images alone go through, or nothing was changed.
    """
    prefix = prefix_of(spec)
    layers = [name for name in ("hidden", "output") if f"{prefix}{name}.weight" in sent]
    changes = {name: _change(f"{prefix}{name}", sent, answered) for name in layers}
    longest = max(float(np.linalg.norm(weight)) for weight, _ in changes.values())
    if longest == 0:
        raise UserError("The update changes nothing in the layers that images go through.")
    first = layers[0]
    weight, bias = changes[first]
    rounding = ROUNDING * float(np.linalg.norm(sent[f"{prefix}{first}.weight"]))
    clearness = float(np.linalg.norm(weight)) / max(rounding, 1e-30)
    if len(layers) == 1 or clearness > CLEAR:
        found = quotient(weight, bias)
    else:
        hidden = quotient(*changes["output"])
        before = (sent[f"{prefix}hidden.weight"], sent[f"{prefix}hidden.bias"])
        if clearness > GUESS:
            prior = quotient(weight, bias), np.eye(weight.shape[1])
        else:
            prior = _prior(spec, public)
        found = _before_relu(*before, hidden, *prior)
    return found / max(float(np.linalg.norm(found)), 1e-30)


def quotient(weight: Vector, bias: Vector) -> Vector:
    """Return the input of a linear layer from its gradients: by least squares over all rows."""
    found: Vector = bias @ weight / max(float(bias @ bias), 1e-300)
    return found


def _before_relu(
    weight: Array, bias: Array, hidden: Vector, centre: Vector, spread: Vector
) -> Vector:
    """Return x of ``relu(weight x + bias) = hidden``, from the units above zero.

    Of all x that fulfil their equations, the likeliest of a normal distribution around `centre`
    with the covariance ``spread spread^T``.
    """
    active = hidden > 1e-4 * max(float(np.abs(hidden).max()), 1e-30)
    rows = weight[active].astype(np.float64)
    missing = hidden[active] - bias[active] - rows @ centre
    found = centre + spread @ np.linalg.lstsq(rows @ spread, missing, rcond=1e-10)[0]
    return found.astype(np.float64)


def _prior(spec: Spec, public: Array | None) -> tuple[Vector, Vector]:
    """Return centre ``[d]`` and spread ``[d, d]`` of vectors as the layer is given them."""
    if public is None or len(public) < 2:
        return np.zeros(spec.dim), np.eye(spec.dim)
    seen = public.astype(np.float64)
    if isinstance(spec, ProbeSpec) or (isinstance(spec, AdaptorSpec) and spec.residual):
        seen = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    if isinstance(spec, ProbeSpec):
        seen = seen * np.sqrt(spec.dim)
    values, axes = np.linalg.eigh(np.cov(seen.T))
    # Never quite flat: a new image may lie beside the space of the public ones.
    return seen.mean(0), axes * np.sqrt(np.maximum(values, 1e-3 * values.max()))


def _change(
    layer: str, sent: Mapping[str, Array], answered: Mapping[str, Array]
) -> tuple[Vector, Vector]:
    weight, bias = (
        sent[name].astype(np.float64) - answered[name].astype(np.float64)
        for name in (f"{layer}.weight", f"{layer}.bias")
    )
    return weight, bias


def prefix_of(spec: Spec) -> str:
    """Return what the names of the images' own layers begin with."""
    if isinstance(spec, ProbeSpec):
        return ""
    if isinstance(spec, TunedSpec):
        raise UserError(
            f"adaptor.kind = {spec.kind} works on an image's tokens, which this inversion does not "
            "know: attack a run with adaptor.kind = mlp or linear, or a probe."
        )
    if "image" in WIRINGS[spec.wiring]:
        return "parts.image."
    raise UserError(
        f"adaptor.wiring = {spec.wiring} has no layer that images alone go through: there is no "
        "gradient to invert."
    )
