"""Fixed random features of an image vector: more to tell images apart by, and nothing to forget.

``r(x) = relu(W u + b) / |relu(W u + b)|`` with u = x / |x|, W of standard normal numbers and b of
normal ones a third as wide, drawn once for a length and a count. They are never trained and never
travel: every site draws the same. Random projections before independent classes are the idea of
RanPAC, McDonnell et al. 2023 (arXiv 2307.02251).
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from fedretune.objectives.prompt_embeddings import Directed
from fedretune.seeds import derive_seed

BIAS = 0.3


class RandomFeatures(nn.Module):
    """From vectors ``[..., d]`` to ``[..., count]``, each as long as the vector was."""

    weight: Tensor
    bias: Tensor

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        weight, bias = _drawn(dim, count)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Directed) -> Tensor:
        """Return the features, stretched by the vector's length."""
        raw = torch.relu(x.directions @ self.weight.T + self.bias)
        features: Tensor = x.lengths * nn.functional.normalize(raw, dim=-1)
        return features


@lru_cache(maxsize=4)
def _drawn(dim: int, count: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(derive_seed(0, "random features", dim, count))
    weight = rng.standard_normal((count, dim), dtype=np.float32)
    bias = BIAS * rng.standard_normal(count, dtype=np.float32)
    return torch.from_numpy(weight), torch.from_numpy(bias)
