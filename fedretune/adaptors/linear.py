"""The adaptor `linear`: Linear(d, d), following the earlier code of RE-tune's authors."""

from typing import TYPE_CHECKING

from fedretune.adaptors.kind import Kind, Shapes

if TYPE_CHECKING:
    from torch import nn


def _shapes(dim: int) -> Shapes:
    return {"output.weight": (dim, dim), "output.bias": (dim,)}


def _module(dim: int) -> "nn.Sequential":
    from torch import nn

    module = nn.Sequential()
    module.add_module("output", nn.Linear(dim, dim))
    return module


LINEAR = Kind(_shapes, _module)
