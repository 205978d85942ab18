"""A transformer of two tokens, whose images are made of vectors: for worlds without images."""

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

from fedretune.tuning.frozen import Trunk, hold, part


def tiny_trunk(dim: int) -> Trunk:
    """Have the process hold a transformer of two blocks and two tokens; return it."""
    torch.manual_seed(0)
    sizes = {"embed_dim": dim, "depth": 2, "num_heads": 2, "num_classes": 0}
    vit = VisionTransformer(4, 4, **sizes, global_pool="avg", fc_norm=True).eval()
    trunk = part("tiny", "tiny", vit.requires_grad_(False))
    hold(trunk)
    return trunk


def tokens_of(vectors: np.ndarray) -> np.ndarray:
    """Return rows of tokens: of each vector a class token of zeros, and one patch that is it."""
    return np.concatenate([np.zeros_like(vectors), vectors], axis=1)
