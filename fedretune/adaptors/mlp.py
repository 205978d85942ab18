"""The adaptor `mlp`: Linear(d, 2d), ReLU, Linear(2d, d).

It follows the earlier code of RE-tune's authors.
"""

from typing import TYPE_CHECKING

from fedretune.adaptors.kind import Kind, Shapes

if TYPE_CHECKING:
    from torch import nn


def _shapes(dim: int) -> Shapes:
    return {
        "hidden.weight": (2 * dim, dim),
        "hidden.bias": (2 * dim,),
        "output.weight": (dim, 2 * dim),
        "output.bias": (dim,),
    }


def _module(dim: int) -> "nn.Sequential":
    from torch import nn

    module = nn.Sequential()
    module.add_module("hidden", nn.Linear(dim, 2 * dim))
    module.add_module("relu", nn.ReLU())
    module.add_module("output", nn.Linear(2 * dim, dim))
    return module


MLP = Kind(_shapes, _module)
