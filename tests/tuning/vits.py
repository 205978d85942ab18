"""Small vision transformers of random weights: MRM-shaped, open_clip's own, open_clip's of timm."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from tests.backbones.tiny import text_cfg, write_config, write_tokenizer

WIDTH = 64


def write_mrm(path: Path, depth: int = 3, patch: int = 56, width: int = WIDTH) -> Path:
    """Write a checkpoint of MRM's shape: 16 patches and a class token, unless said otherwise."""
    vit = new_vit(depth, patch, width)
    tensors = {name: each for name, each in vit.state_dict().items() if "fc_norm" not in name}
    torch.save({"model": tensors}, path)
    return path


def new_vit(depth: int = 3, patch: int = 56, width: int = WIDTH) -> VisionTransformer:
    """Return a transformer of random weights in which attention is far from uniform."""
    torch.manual_seed(7)
    vit = VisionTransformer(
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=width // 64,
        num_classes=0,
        global_pool="avg",
        fc_norm=True,
    )
    for name, each in vit.named_parameters():
        torch.nn.init.normal_(each, std=0.15) if each.ndim > 1 else each.data.add_(
            0.05 * torch.randn(each.shape)
        )
        assert name
    return vit


def write_clip(folder: Path, depth: int = 3) -> Path:
    """Write an open_clip folder whose image tower is open_clip's own transformer."""
    import open_clip

    folder.mkdir(parents=True)
    vision = {
        "layers": depth,
        "width": WIDTH,
        "patch_size": 16,
        "image_size": 32,
        "head_width": 32,
    }
    model_cfg = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text_cfg()}
    torch.manual_seed(3)
    model = open_clip.CLIP(**model_cfg)
    return _write(folder, model_cfg, model)


def write_timm_clip(folder: Path) -> Path:
    """Write an open_clip folder whose image tower is one of timm's: BiomedCLIP's layout."""
    import open_clip

    folder.mkdir(parents=True)
    vision = {
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 160,
    }
    model_cfg = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text_cfg()}
    torch.manual_seed(3)
    return _write(folder, model_cfg, open_clip.CLIP(**model_cfg))


def _write(folder: Path, model_cfg: dict[str, object], model: torch.nn.Module) -> Path:
    write_config(folder, model_cfg)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    write_tokenizer(folder)
    return folder
