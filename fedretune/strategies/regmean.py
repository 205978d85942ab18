"""`regmean`: the linear layers that answer as all sites' do, Jin et al. 2023 (arXiv 2212.09849).

A site tells, for each linear layer of the adaptor that it trained, the second moments of the
layer's inputs x: ``G = mean of x x^T`` over the shard's images, or over the prompts; of a layer
that adapts both, the sum of the two. **These are second moments of the site's data**: those of a
first layer are of the backbone's vectors themselves, and with fewer images than dimensions they
give away the space that the vectors span.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedretune import wire
from fedretune.adaptors import Adaptor, Model, Spec
from fedretune.methods.method import Visit
from fedretune.objectives.prompt_embeddings import directed
from fedretune.strategies.part import Contribution, Round, SitePart, Turn
from fedretune.training import TrainingResult
from fedretune.wire import Array, ArrayRecords, ScalarRecords, Schema, WireError

#: The record of the reply: by the name of the layer's weights, the upper triangle of G, row by row.
GRAM = "gram"
#: Of the largest entry: how far below 0 rounding to float32 may take an eigenvalue.
ROUNDING = 1e-4
#: Added, so that a matrix of zeros, which a layer without inputs has, passes too.
SMALLEST = 1e-30


class RegMean(SitePart):
    """The second moments."""

    def adds(self, adaptor: Spec) -> Schema:
        """Return a triangle for each linear layer."""
        sizes = {name: inputs for name, (_, inputs) in linear_layers(adaptor).items()}
        triangles = {
            name: wire.Tensor((size * (size + 1) // 2,), ("float32",))
            for name, size in sizes.items()
        }
        return Schema({GRAM: triangles} if triangles else {})

    def check(self, arrays: ArrayRecords, scalars: ScalarRecords, steps: range) -> None:
        """Refuse what are no second moments: such a matrix has no eigenvalue below 0."""
        for name, triangle in arrays.get(GRAM, {}).items():
            gram = symmetric(triangle)
            gram[np.diag_indices_from(gram)] += ROUNDING * np.abs(gram).max() + SMALLEST
            try:
                np.linalg.cholesky(gram)
            except np.linalg.LinAlgError:
                raise WireError(f"array '{GRAM}/{name}' is of no second moments") from None

    def begin(self, round_: Round) -> Turn:
        """Look at the trained adaptor's inputs in the end."""

        def finish(model: Model, result: TrainingResult) -> Contribution:
            triangles = {name: upper(gram) for name, gram in grams(model, round_.visit).items()}
            return Contribution({GRAM: triangles} if triangles else {})

        return Turn(finish=finish)


def linear_layers(adaptor: Spec) -> dict[str, tuple[int, int]]:
    """Return the shapes (outputs, inputs) of the weights of the linear layers, by name."""
    return {
        name: (shape[0], shape[1])
        for name, (shape, _) in adaptor.tensors().items()
        if name.endswith(".weight") and len(shape) == 2
    }


@torch.no_grad()
def grams(model: Model, visit: Visit) -> dict[str, Tensor]:
    """Return the second moments ``[inputs, inputs]`` of each linear layer's inputs, by name."""
    found: dict[str, Tensor] = {}
    with _seeing(model, found):
        images = directed(visit.images)
        if isinstance(model, Adaptor):
            model.image(images)
            model.text(visit.prompts)
        else:
            model(images)
    return found


@contextmanager
def _seeing(model: Model, found: dict[str, Tensor]) -> Iterator[None]:
    """Add the second moments of what comes to each linear layer to those found."""

    def see(name: str, layer: nn.Module, given: tuple[Tensor]) -> None:
        rows = given[0].reshape(-1, given[0].shape[-1])
        found[name] = found.get(name, torch.zeros(())) + rows.T @ rows / len(rows)

    handles = [
        layer.register_forward_pre_hook(partial(see, f"{name}.weight"))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def upper(gram: Tensor) -> NDArray[np.float32]:
    """Return the upper triangle of a symmetric matrix, row by row."""
    matrix = gram.numpy()
    triangle: NDArray[np.float32] = matrix[np.triu_indices(len(matrix))]
    return triangle


def symmetric(triangle: Array) -> NDArray[np.float64]:
    """Return the symmetric matrix, in float64, of which `upper` gave the triangle."""
    size = (math.isqrt(8 * len(triangle) + 1) - 1) // 2
    half = np.zeros((size, size))
    half[np.triu_indices(size)] = triangle
    return half + np.triu(half, 1).T
