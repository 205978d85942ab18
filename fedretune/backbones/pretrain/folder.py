"""The open_clip folder of phantom-clip: config, tokenizer, weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedretune.backbones.pretrain.reports import vocabulary

CONTEXT = 48
_SPECIAL = ("[pad]", "[unk]", "[cls]")
_END = "[eot]"

#: Of the small towers tried, what learnt most from phantoms in the same time.
VISION = {"image_size": 128, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}
TEXT = {"width": 128, "heads": 4, "layers": 2}
EMBED_DIM = 128
MEAN, STD = 0.5, 0.25


def config(vision: Mapping[str, object] = VISION) -> dict[str, Any]:
    """Return the content of ``open_clip_config.json``, for an image tower of this config."""
    text = {
        **TEXT,
        "context_length": CONTEXT,
        "vocab_size": len(tokens()),
        # open_clip reads a folder's own tokenizer files if this says anything at all.
        "hf_tokenizer_name": "phantom-clip",
        "tokenizer_kwargs": {"clean_up_tokenization_spaces": False},
    }
    return {
        "model_cfg": {"embed_dim": EMBED_DIM, "vision_cfg": dict(vision), "text_cfg": text},
        "preprocess_cfg": {
            "size": vision["image_size"],
            "mode": "RGB",
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def tokens() -> tuple[str, ...]:
    """Return the vocabulary in the order of its ids.

    The end of text comes last: open_clip pools at the highest id.
    """
    return (*_SPECIAL, *vocabulary(), _END)


def new_model(seed: int, vision: Mapping[str, object] = VISION) -> Any:
    """Return an untrained open_clip model with this image tower."""
    import open_clip

    torch.manual_seed(seed)
    return open_clip.CLIP(**config(vision)["model_cfg"])


def write_tokenizer(folder: Path, vision: Mapping[str, object] = VISION) -> None:
    """Write the config and the tokenizer, so that open_clip can read texts from `folder`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(tokens())}
    inner = Tokenizer(models.WordLevel(ids, unk_token="[unk]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single=f"[cls] $A {_END}", special_tokens=[(t, ids[t]) for t in ("[cls]", _END)]
    )
    fast: Any = PreTrainedTokenizerFast
    fast(
        tokenizer_object=inner,
        pad_token="[pad]",
        unk_token="[unk]",
        cls_token="[cls]",
        eos_token=_END,
    ).save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(config(vision), indent=2) + "\n")


def tokenizer_of(folder: Path) -> Any:
    """Return open_clip's tokenizer of a folder."""
    import open_clip

    return open_clip.get_tokenizer(f"local-dir:{folder.resolve()}")


def write_weights(folder: Path, model: nn.Module) -> None:
    """Write the weights, float16, as safetensors."""
    from safetensors.torch import save_file

    half = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    path = folder / "open_clip_model.safetensors"
    save_file(half, path)
    path.chmod(0o644)  # safetensors keeps it from other users; a library is for all
