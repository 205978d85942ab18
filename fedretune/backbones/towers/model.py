"""The open_clip model and folder of `lite0-minilm`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from fedretune.backbones.open_clip_source import CONFIG, TOKENIZER
from fedretune.backbones.towers.fit import Joint
from fedretune.backbones.weights import read_tensors
from fedretune.errors import UserError

SIZE = 224
WIDTH = {"image": 1280, "text": 384}
_MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_BATCH = 50


def config(dim: int) -> dict[str, Any]:
    """Return the content of ``open_clip_config.json``."""
    vision = {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_proj_bias": True,
        "image_size": SIZE,
    }
    text = {
        "hf_model_name": _MINILM,
        "hf_tokenizer_name": _MINILM,
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
        "context_length": 64,
    }
    half = [0.5] * 3
    prepare = {"size": SIZE, "mean": half, "std": half, "interpolation": "bicubic"}
    return {
        "model_cfg": {"embed_dim": dim, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {**prepare, "mode": "RGB", "resize_mode": "shortest"},
    }


def write_folder(folder: Path, minilm: Path, dim: int) -> None:
    """Write all but the weights: open_clip's config, BERT's config, the tokenizer."""
    (folder / CONFIG).write_text(json.dumps(config(dim), indent=2) + "\n")
    for name in ("config.json", *TOKENIZER):
        if (minilm / name).is_file():
            shutil.copyfile(minilm / name, folder / name)


def new_model(folder: Path, image: Path, minilm: Path, dim: int) -> Any:
    """Return the model with both towers' weights; the maps that join them are still random.

    Raises
    ------
    UserError
        The weights are not those that this was written for.
    """
    import open_clip

    cfg = config(dim)["model_cfg"]
    local = {**cfg["text_cfg"], "hf_model_name": str(folder), "hf_model_pretrained": False}
    torch.manual_seed(0)
    try:
        model = open_clip.CustomTextCLIP(**{**cfg, "text_cfg": local})
        trunk, bert = model.visual.trunk, model.text.transformer
        trunk.load_state_dict(_in_order(trunk.state_dict(), image))
        sentences = read_tensors(minilm / "model.safetensors")
        bert.load_state_dict({name: sentences[name] for name in bert.state_dict()})
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"The weights in {image} or {minilm} are not the towers of lite0-minilm: "
            f"{' '.join(str(error).split())[:200]} Install the versions of fedretune[towers]."
        ) from error
    return model.eval()


def _in_order(own: dict[str, Tensor], image: Path) -> dict[str, Tensor]:
    """Return weights under timm's names: the file has its own, in the same order."""
    found = list(read_tensors(image).values())[: len(own)]
    if [value.shape for value in found] != [value.shape for value in own.values()]:
        raise ValueError("the shapes differ.")
    return dict(zip(own, found, strict=True))


@torch.inference_mode()
def image_vectors(model: Any, films: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what the image tower makes of ``[n, 224, 224]`` grey levels, ``[n, 1280]``."""
    trunk = model.visual.trunk.to(memory_format=torch.channels_last)
    parts = []
    for start in range(0, len(films), _BATCH):
        grey = torch.from_numpy(films[start : start + _BATCH])[:, None].float() / 255
        three = ((grey - 0.5) / 0.5).expand(-1, 3, -1, -1)
        parts.append(trunk(three.contiguous(memory_format=torch.channels_last)))
    return torch.cat(parts).double().numpy()


@torch.inference_mode()
def sentence_vectors(model: Any, tokenizer: Any, texts: list[str]) -> NDArray[np.float64]:
    """Return what the text tower makes of sentences, ``[m, 384]``, before it is mapped."""
    parts = []
    for start in range(0, len(texts), _BATCH):
        tokens = tokenizer(texts[start : start + _BATCH])
        mask = (tokens != model.text.config.pad_token_id).long()
        found = model.text.transformer(input_ids=tokens, attention_mask=mask)
        parts.append(model.text.pooler(found, mask))
    return torch.cat(parts).double().numpy()


def write_weights(folder: Path, model: Any, joint: Joint) -> None:
    """Put the fitted maps into the model, and the model into the folder."""
    # Rounded as float16 would: what differs below that from one machine to the next is dropped.
    image, offset, text = (
        torch.from_numpy(each).half().float() for each in (joint.image, joint.offset, joint.text)
    )
    model.visual.head.proj.weight.data = image
    model.visual.head.proj.bias.data = offset
    model.text.proj.weight.data = text
    path = folder / "open_clip_model.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    path.chmod(0o644)  # safetensors keeps it from other users
