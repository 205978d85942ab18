"""Frozen vision transformers, parted where tuning begins, and those that this process holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fedretune.errors import UserError
from fedretune.tuning.fused import Fused, fused_block
from fedretune.tuning.layout import Layout, Part, Shape

#: A block's weight matrices and the targets that are rows of each.
_FUSED = ("q", "k", "v")


@dataclass(frozen=True, eq=False)
class Trunk:
    """A frozen transformer: from images to tokens, block by block, to a vector.

    Parameters
    ----------
    layout : Layout
    embed : callable
        From images ``[B, 3, H, W]`` to the tokens ``[B, T, w]`` that the first block sees.
    blocks : tuple of torch modules
        Each from tokens to tokens, as the backbone has them.
    top : torch module
        From the last block's tokens to vectors ``[B, d]``.
    opened : tuple of torch modules
        The blocks once more, of the same weights, but with each projection a linear layer.
    """

    layout: Layout
    embed: Callable[[Tensor], Tensor]
    blocks: tuple[nn.Module, ...]
    top: nn.Module
    opened: tuple[nn.Module, ...] = field(default=())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.blocks[0].parameters()).device

    def tokens(self, images: Tensor, blocks: int) -> Tensor:
        """Return the tokens ``[B, T, w]`` that come to the last `blocks` blocks; no gradient."""
        with torch.no_grad():
            tokens = self.embed(images)
            for block in self.blocks[: len(self.blocks) - blocks]:
                tokens = block(tokens)
        return tokens

    def to(self, device: torch.device) -> "Trunk":
        """Move the weights; return the trunk."""
        for module in (*self.blocks, self.top, *self.opened):
            module.to(device)
        return self


_HELD: dict[str, Trunk] = {}


def hold(trunk: Trunk) -> None:
    """Keep a trunk for the process, by its backbone's fingerprint."""
    _HELD[trunk.layout.backbone] = trunk


def held(fingerprint: str) -> Trunk:
    """Return a trunk that the process holds. Raises `UserError` if it holds none of these."""
    if fingerprint not in _HELD:
        raise UserError(
            f"What is tuned belongs into the backbone with the fingerprint {fingerprint[:12]}, "
            "and this process has not loaded it: fedretune.tuning.use(BACKBONE) does."
        )
    return _HELD[fingerprint]


def holds(fingerprint: str) -> bool:
    """Return whether the process holds the trunk of these weights."""
    return fingerprint in _HELD


def part(name: str, fingerprint: str, tower: Any) -> Trunk:
    """Return an image tower, parted.

    Parameters
    ----------
    name : str
        The backbone's, for messages.
    fingerprint : str
    tower : torch module
        A timm vision transformer, one that open_clip has wrapped, or open_clip's own.

    Raises
    ------
    UserError
        It is none of these.
    """
    after: nn.Module = nn.Identity()
    if hasattr(tower, "trunk"):  # open_clip's wrapping of timm's, or `vit_model.ImageTower`
        tower, after = tower.trunk, getattr(tower, "head", after)
    if hasattr(tower, "transformer") and hasattr(tower, "class_embedding"):
        return _of_open_clip(name, fingerprint, tower)
    if hasattr(tower, "patch_embed") and hasattr(tower, "blocks"):
        return _of_timm(name, fingerprint, tower, after)
    raise _no_transformer(name, type(tower).__name__)


def _no_transformer(name: str, found: str) -> UserError:
    return UserError(
        f"The image tower of the backbone '{name}' is a {found}, and LoRA, BitFit and full tuning "
        "are for vision transformers with learnt positions: take vit-mrm:FILE, vit-cxr-mae:FILE, "
        "or an open_clip folder (local-dir:FOLDER) whose image tower is a ViT; or "
        "adaptor.kind = mlp, which goes with every backbone."
    )


def _of_timm(name: str, fingerprint: str, vit: Any, after: nn.Module) -> Trunk:
    top = TimmTop(name, vit, after)

    def embed(images: Tensor) -> Tensor:
        tokens: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
        return tokens

    blocks = tuple(vit.blocks)
    if not all(hasattr(getattr(each, "attn", None), "qkv") for each in blocks):
        raise _no_transformer(name, f"{type(vit).__name__} without a fused qkv")
    names = {"proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    parts = _parts(blocks[0], "attn.qkv.weight", names)
    tokens = vit.pos_embed.shape[1] + (vit.num_prefix_tokens if vit.no_embed_class else 0)
    layout = _layout(fingerprint, blocks, top, parts, (vit.embed_dim, tokens))
    return Trunk(layout, embed, blocks, top, blocks)


def _of_open_clip(name: str, fingerprint: str, vit: Any) -> Trunk:
    blocks = tuple(vit.transformer.resblocks)
    plain = all(isinstance(getattr(each, "attn", None), nn.MultiheadAttention) for each in blocks)
    if not plain or not vit.transformer.batch_first or vit.attn_pool is not None:
        raise _no_transformer(name, f"{type(vit).__name__} with attention of its own")
    top = OpenClipTop(vit)
    names = {"proj": "attn.out_proj", "fc1": "mlp.c_fc", "fc2": "mlp.c_proj"}
    parts = _parts(blocks[0], "attn.in_proj_weight", names)
    tokens, width = vit.positional_embedding.shape
    layout = _layout(fingerprint, blocks, top, parts, (width, tokens))
    return Trunk(layout, vit._embeds, blocks, top, tuple(map(fused_block, blocks)))


def _parts(block: nn.Module, fused: str, names: Mapping[str, str]) -> dict[str, Part]:
    """Return the targets of a block: thirds of its fused projection, and whole layers."""
    shapes = {name: tuple(each.shape) for name, each in block.named_parameters()}
    rows, inputs = shapes[fused]
    third = rows // 3
    parts = {each: Part(fused, i * third, third, inputs) for i, each in enumerate(_FUSED)}
    for target, module in names.items():
        if (weight := f"{module}.weight") in shapes:
            parts[target] = Part(weight, 0, *shapes[weight])
    return parts


def _layout(
    fingerprint: str,
    blocks: tuple[nn.Module, ...],
    top: nn.Module,
    parts: Mapping[str, Part],
    sizes: tuple[int, int],
) -> Layout:
    width, tokens = sizes
    with torch.no_grad():
        first = next(blocks[0].parameters())
        vector = top(torch.zeros(1, tokens, width, device=first.device))
    return Layout(
        fingerprint,
        width,
        len(blocks),
        tokens,
        vector.shape[-1],
        _shapes(blocks[0]),
        _shapes(top),
        parts,
    )


def _shapes(module: nn.Module) -> dict[str, Shape]:
    return {name: tuple(each.shape) for name, each in module.named_parameters()}


class TimmTop(nn.Module):
    """What comes after the blocks of timm's: normalisation, mean or class token, projection."""

    def __init__(self, name: str, vit: Any, after: nn.Module) -> None:
        super().__init__()
        if getattr(vit, "attn_pool", None) is not None:
            raise _no_transformer(name, f"{type(vit).__name__} that pools by attention")
        self.norm, self.fc_norm, self.head, self.after = vit.norm, vit.fc_norm, vit.head, after
        self._pool = vit.pool  # a method: no part of this module's parameters

    def forward(self, tokens: Tensor) -> Tensor:
        """Return vectors ``[B, d]`` of tokens ``[B, T, w]``."""
        vectors: Tensor = self.after(self.head(self.fc_norm(self._pool(self.norm(tokens)))))
        return vectors


class OpenClipTop(nn.Module):
    """What comes after the blocks of open_clip's own transformer."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.proj, self.ln_post = vit.proj, vit.ln_post
        self._first, self._after_pool = vit.pool_type == "tok", vit.final_ln_after_pool

    def forward(self, tokens: Tensor) -> Tensor:
        """Return vectors ``[B, d]`` of tokens ``[B, T, w]``."""
        if not self._after_pool:
            tokens = self.ln_post(tokens)
        vectors: Tensor = tokens[:, 0] if self._first else tokens[:, 1:].mean(dim=1)
        if self._after_pool:
            vectors = self.ln_post(vectors)
        return vectors if self.proj is None else vectors @ self.proj


__all__ = ["Fused", "Trunk", "held", "hold", "holds", "part"]
