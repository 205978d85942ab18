"""A vision transformer from a masked autoencoder's checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fedretune.backbones.model import Towers
from fedretune.backbones.vit import SIZE, VitSource
from fedretune.backbones.weights import read_tensors
from fedretune.errors import UserError

#: Parts of a checkpoint that only pretraining needs, by the beginnings of their names. `norm` is
#: among them: with mean pooling it gives way to `fc_norm`, which comes after the mean.
PRETRAINING = ("decoder_", "mask_token", "bert_encoder.", "bert_mlp.", "norm.", "head.")
#: What a pretrained checkpoint has not: it starts as the identity, but for the normalisation.
FRESH = frozenset({"fc_norm.weight", "fc_norm.bias"})
_HEAD_WIDTH = 64  # of every ViT of this family
_NAMED = 5


class ImageTower(nn.Module):
    """A transformer whose vector is the mean over patch tokens, normalised by `fc_norm`."""

    def __init__(self, trunk: VisionTransformer) -> None:
        super().__init__()
        self.trunk = trunk

    def encode_image(self, images: Tensor) -> Tensor:
        """Return vectors ``[B, d]`` of ``[B, 3, H, W]``."""
        vectors: Tensor = self.trunk(images)
        return vectors


def load(source: VitSource) -> Towers:
    """Return the image tower of a checkpoint; `remarks` list what was missing and not used.

    Raises
    ------
    UserError
        The file cannot be read, or is of another architecture; names the first keys that differ.
    """
    tensors = read_checkpoint(source.path)
    trunk = new_trunk(source.path, tensors)
    tensors["pos_embed"] = _fitted(tensors["pos_embed"], trunk)
    own = trunk.state_dict()
    _check(source.path, own, tensors)
    unused = sorted(set(tensors) - set(own))
    fresh = sorted(set(own) - set(tensors))
    trunk.load_state_dict({name: tensors[name] for name in own if name in tensors}, strict=False)
    remarks = (f"missing, at its initial value: {_few(fresh)}", f"not used: {_few(unused)}")
    return Towers(ImageTower(trunk), source.prepare, remarks=remarks)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name.

    Raises
    ------
    UserError
        It cannot be read, or lacks what makes a vision transformer.
    """
    tensors = read_tensors(path)
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
    if any(name not in tensors for name in needed) or tensors[needed[2]].ndim != 4:
        raise UserError(f"{path} is no checkpoint of a ViT: it lacks one of {', '.join(needed)}.")
    return tensors


def new_trunk(path: Path, tensors: Mapping[str, Tensor]) -> VisionTransformer:
    """Return an untrained transformer of the checkpoint's own sizes."""
    width, channels, patch, _ = tensors["patch_embed.proj.weight"].shape
    if width % _HEAD_WIDTH or channels != 3 or SIZE % patch:
        raise UserError(
            f"{path} is no ViT as meant here: patches of {patch} pixels and {channels} channels "
            f"to {width} numbers, where heads are {_HEAD_WIDTH} wide and images {SIZE} pixels."
        )
    depth = sum(name.endswith(".attn.qkv.weight") for name in tensors if name.startswith("blocks."))
    hidden = tensors.get("blocks.0.mlp.fc1.weight", torch.empty(4 * width, 0)).shape[0]
    return VisionTransformer(
        img_size=SIZE,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=width // _HEAD_WIDTH,
        mlp_ratio=hidden / width,
        num_classes=0,
        global_pool="avg",
        fc_norm=True,
    )


def _fitted(positions: Tensor, trunk: VisionTransformer) -> Tensor:
    """Return the position embedding, interpolated if it was learnt at another image size."""
    grid = trunk.patch_embed.grid_size
    fitted: Tensor = resample_abs_pos_embed(positions.float(), list(grid))
    return fitted


def _check(path: Path, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    missing = [f"{name} (missing)" for name in own if name not in tensors and name not in FRESH]
    extra = [
        f"{name} (unexpected)"
        for name in tensors
        if name not in own and not name.startswith(PRETRAINING)
    ]
    shapes = [
        f"{name} ({list(tensors[name].shape)}, not {list(own[name].shape)})"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if differing := [*missing, *extra, *shapes]:
        raise UserError(
            f"{path} is a checkpoint of another architecture: {_few(differing)}. A ViT with a "
            "fused qkv and learnt or fixed positions is meant."
        )


def _few(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(names[:_NAMED]) or "none"
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
