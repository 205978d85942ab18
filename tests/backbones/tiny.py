"""A tiny, random open_clip folder, complete with weights and tokenizer, in a second."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

SENTENCE = (
    "findings consistent with suggesting this opacity can represent are most compatible there is "
    "no evidence of acute signs mass edema nodule hernia pleural thickening"
)
WORDS = SENTENCE.split()


def write_folder(folder: Path, seed: int = 0, dim: int = 16, **preprocess: object) -> Path:
    """Write the folder of a model of `dim` dimensions at 32 x 32 pixels; returns `folder`."""
    import open_clip

    folder.mkdir(parents=True)
    vision = {"layers": 1, "width": 32, "patch_size": 16, "image_size": 32, "head_width": 16}
    model_cfg = {"embed_dim": dim, "vision_cfg": vision, "text_cfg": text_cfg()}
    torch.manual_seed(seed)
    model = open_clip.CLIP(**model_cfg)
    write_config(folder, model_cfg, **preprocess)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    write_tokenizer(folder)
    return folder


def write_bert_folder(folder: Path, hub_name: str = "nobody/such-a-bert") -> Path:
    """Write the folder of a model whose text tower is a BERT that its config names by address."""
    import open_clip
    from transformers import BertConfig

    folder.mkdir(parents=True)
    bert = BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    bert.save_pretrained(folder)
    vision = {"layers": 1, "width": 32, "patch_size": 16, "image_size": 32, "head_width": 16}
    text = {
        "hf_model_name": str(folder),
        "hf_model_pretrained": False,
        "hf_tokenizer_name": hub_name,
        "context_length": 16,
    }
    model = open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)
    hub = {**text, "hf_model_name": hub_name, "hf_model_pretrained": True}
    write_config(folder, {"embed_dim": 16, "vision_cfg": vision, "text_cfg": hub})
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    write_tokenizer(folder)
    return folder


def text_cfg() -> dict[str, object]:
    """Return the config of a text tower of one layer with its own vocabulary."""
    return {
        "context_length": 16,
        "vocab_size": 64,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "hf_tokenizer_name": "own",
        "tokenizer_kwargs": {"clean_up_tokenization_spaces": False},
    }


def write_config(folder: Path, model_cfg: dict[str, object], **preprocess: object) -> None:
    """Write ``open_clip_config.json``."""
    content = {"model_cfg": model_cfg, "preprocess_cfg": {"mean": [0.5] * 3, **preprocess}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))


def write_tokenizer(folder: Path) -> None:
    """Write a word-level tokenizer that knows `WORDS`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
