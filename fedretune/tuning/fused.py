"""open_clip's attention with its projections as linear layers, which LoRA can be put beside.

`nn.MultiheadAttention` keeps q, k and v in one parameter and calls no module for them, so there is
nothing to hook. This one computes the same from the same storage.
"""

import copy
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Fused(nn.Module):
    """Self-attention ``[B, T, w]`` to ``[B, T, w]``, of an `nn.MultiheadAttention`'s weights."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        width = attention.embed_dim
        self.heads = attention.num_heads
        self.qkv = nn.Linear(width, 3 * width, device="meta")
        self.qkv.weight, self.qkv.bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = attention.out_proj

    def forward(self, x: Tensor, *others: Any, **options: Any) -> tuple[Tensor]:
        """Attend; what else a block hands over (k, v, no mask) is x again, or nothing."""
        batch, tokens, width = x.shape
        parts = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return (self.out_proj(mixed.reshape(batch, tokens, width)),)


def fused_block(block: nn.Module) -> nn.Module:
    """Return a block of open_clip's with `Fused` attention; every weight is the block's own."""
    attention = block.attn
    assert isinstance(attention, nn.MultiheadAttention)
    memo = {id(each): each for each in block.parameters()}
    opened = copy.deepcopy(block, memo)
    opened.attn = Fused(attention)
    return opened
