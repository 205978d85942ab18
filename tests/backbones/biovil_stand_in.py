"""A random BioViL of the published names and shapes, its text tower a small BERT."""

import json
from pathlib import Path

import torch
import torchvision
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from tests.backbones.tiny import WORDS

BERT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 24,
}


def write_biovil(folder: Path, dim: int = 128) -> Path:
    """Write config, vocabulary and both towers' weights; returns `folder`."""
    folder.mkdir(parents=True)
    torch.manual_seed(3)
    remote = {"architectures": ["CXRBertModel"], "model_type": "cxr-bert"}
    auto = {"auto_map": {"AutoModel": "modeling_cxrbert.CXRBertModel"}, "projection_size": dim}
    (folder / "config.json").write_text(json.dumps({**BERT, **remote, **auto}))
    (folder / "modeling_cxrbert.py").write_text("raise SystemExit('remote code was run')\n")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.save(image_weights(dim), folder / "biovil_image_resnet50_proj_size_128.pt")
    torch.save(text_weights(dim), folder / "pytorch_model.bin")
    return folder


def image_weights(dim: int) -> dict[str, Tensor]:
    """Return the state of the authors' ImageModel: ResNet-50 with its unused head, projector."""
    encoder = torchvision.models.resnet50().state_dict()
    projector = torch.nn.Sequential(
        torch.nn.Conv2d(2048, dim, 1, bias=False),
        torch.nn.BatchNorm2d(dim),
        torch.nn.ReLU(),
        torch.nn.Conv2d(dim, dim, 1),
    ).state_dict()
    return {
        **{f"encoder.encoder.{name}": value for name, value in encoder.items()},
        **{f"projector.model.{name}": value for name, value in projector.items()},
    }


def text_weights(dim: int) -> dict[str, Tensor]:
    """Return the state of the authors' CXRBertModel: BERT, masked words, projection of [CLS]."""
    bert = BertForMaskedLM(BertConfig(**BERT)).state_dict()
    positions = torch.arange(BERT["max_position_embeddings"])[None]
    wide = BERT["hidden_size"]
    return {
        **bert,
        "bert.embeddings.position_ids": positions,
        "cls_projection_head.dense_to_hidden.weight": torch.randn(dim, wide),
        "cls_projection_head.dense_to_hidden.bias": torch.randn(dim),
        "cls_projection_head.LayerNorm.weight": torch.randn(dim),
        "cls_projection_head.LayerNorm.bias": torch.randn(dim),
        "cls_projection_head.dense_to_output.weight": torch.randn(dim, dim),
        "cls_projection_head.dense_to_output.bias": torch.randn(dim),
    }
