"""`lowrank`: each matrix as the product of two thin ones, in `int8`: the fewest bytes.

What a round changes in a layer is nearly of low rank, which is why PowerSGD works: Vogels et al.
2019 (arXiv 1905.13727). The factors here are the best ones, not those of one power iteration.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedretune.compression.base import Arrays, Compression, Vector
from fedretune.compression.int8 import dequantised, quantised

#: Values are clipped to it, so that the factors are finite.
_LARGEST = np.float32(1e30)


@dataclass(frozen=True)
class _Factors:
    """A tensor's ``[rows, columns]``, all axes but the last as one, and the rank that is sent."""

    rows: int
    columns: int
    rank: int


class LowRank(Compression):
    """Factors U ``[m, r]`` and V ``[n, r]`` of each matrix ``[m, n]``, so that U V^T is near it.

    r is such that the factors have `share` of the matrix's values, and at least 1. What has one
    axis, or would not become fewer, is sent whole. All in int8, a scale for each column of a
    factor. The error of the product, before its rounding, is the least of all of rank r (Eckart &
    Young, 1936).
    """

    @cached_property
    def factors(self) -> dict[str, _Factors | None]:
        """How each tensor is factored, by name; None where it is sent whole."""
        return {
            name: _factors(shape, self.share) for name, (shape, _) in self.adaptor.tensors().items()
        }

    @cached_property
    def columns(self) -> list[int]:
        """The lengths of what has a scale of its own, in their order."""
        lengths: list[int] = []
        for name, each in self.factors.items():
            if each is None:
                lengths.append(self.sizes[name])
            else:
                lengths += [each.rows] * each.rank + [each.columns] * each.rank
        return lengths

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return ``values``, int8, and ``scales``, float32, one for each column."""
        return {
            "values": ((sum(self.columns),), "int8"),
            "scales": ((len(self.columns),), "float32"),
        }

    def encode(self, update: Vector) -> dict[str, NDArray[Any]]:
        """Return the factors' columns over their scales, rounded."""
        parts = self.split(np.clip(update, -_LARGEST, _LARGEST))
        columns = [
            parts[name] if each is None else _factored(parts[name], each)
            for name, each in self.factors.items()
        ]
        return quantised(np.concatenate(columns), self.columns)

    def decode(self, encoded: Arrays) -> Vector:
        """Return the products of the factors. Raises `UnsoundError` for what has no sense."""
        values, at, parts = dequantised(encoded, self.columns), 0, []
        for name, each in self.factors.items():
            length = self.sizes[name] if each is None else each.rank * (each.rows + each.columns)
            part = values[at : at + length]
            parts.append(part if each is None else _product(part, each))
            at += length
        return np.concatenate(parts)


def _factors(shape: tuple[int, ...], share: float) -> _Factors | None:
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    rank = max(1, round(share * rows * columns / (rows + columns)))
    fewer = len(shape) > 1 and rank * (rows + columns) < rows * columns
    return _Factors(rows, columns, rank) if fewer else None


def _factored(part: Vector, factors: _Factors) -> Vector:
    """Return the columns of U, then those of V, orthonormal: V V^T projects on the best subspace.

    By torch, of whose threads a site has one: NumPy's may be several, and change the last bits.
    """
    matrix = torch.from_numpy(part.reshape(factors.rows, factors.columns)).double()
    wide = factors.columns > factors.rows
    tall = matrix.T if wide else matrix
    right = torch.linalg.eigh(tall.T @ tall).eigenvectors[:, -factors.rank :]
    left = tall @ right
    u, v = (right, left) if wide else (left, right)
    joined: Vector = torch.cat([u.T.reshape(-1), v.T.reshape(-1)]).float().numpy()
    return joined


def _product(part: Vector, factors: _Factors) -> Vector:
    """Return U V^T, flat: as a sum of outer products, the same bits everywhere."""
    left, right = np.split(part, [factors.rank * factors.rows])
    product = np.zeros((factors.rows, factors.columns), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for u, v in zip(np.split(left, factors.rank), np.split(right, factors.rank), strict=True):
            product += np.outer(u, v)
    return product.ravel()
