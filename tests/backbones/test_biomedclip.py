"""A folder as BiomedCLIP is downloaded, in a process to which the network is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from transformers import BertConfig

from fedretune.backbones import describe, load_backbone
from fedretune.errors import UserError
from tests.backbones.tiny import write_config, write_tokenizer

BERT = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
VISION = {
    "timm_model_name": "test_vit",  # the published one has vit_base_patch16_224
    "timm_model_pretrained": False,
    "timm_pool": "",
    "timm_proj": "linear",
    "image_size": 160,
}
TEXT = {
    "hf_model_name": BERT,
    "hf_tokenizer_name": BERT,
    "hf_proj_type": "mlp",
    "hf_pooler_type": "cls_last_hidden_state_pooler",
    "context_length": 32,
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the published layout, with its text tower's config.json put there."""
    folder = tmp_path_factory.mktemp("biomedclip") / "folder"
    folder.mkdir()
    BertConfig(**SIZES).save_pretrained(folder)
    local = {**TEXT, "hf_model_name": str(folder), "hf_model_pretrained": False}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=VISION, text_cfg=local)
    state = model.state_dict()
    state["text.transformer.embeddings.position_ids"] = torch.arange(512)[None]  # of its time
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    write_config(folder, {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT})
    write_tokenizer(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


REFUSED = """
import socket, sys
def refused(*_, **__):
    raise SystemExit("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from fedretune.backbones import load_backbone
import torch
backbone = load_backbone(sys.argv[1], device="cpu")
print(backbone.encode_texts(["no evidence of edema"]).shape)
print(backbone.encode_images(torch.zeros(1, 3, 160, 160)).shape)
"""


def test_it_loads_without_a_network(original: Path) -> None:
    command = [sys.executable, "-c", REFUSED, f"local-dir:{original}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "torch.Size([1, 16])" in result.stdout


def test_its_weights_are_those_of_the_file(original: Path) -> None:
    backbone = load_backbone(str(original), device="cpu")
    stored = torch.load(original / "open_clip_pytorch_model.bin", weights_only=True)
    for name, value in backbone.model.state_dict().items():
        assert torch.equal(value, stored[name])


def test_as_downloaded_it_says_which_file_to_put_there(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(UserError) as caught:
        describe(str(folder))
    assert f"put the config.json of '{BERT}' there" in str(caught.value)


def test_all_that_is_missing_is_named_at_once(folder: Path) -> None:
    for name in ("config.json", "tokenizer.json", "open_clip_pytorch_model.bin"):
        (folder / name).unlink()
    with pytest.raises(UserError) as caught:
        describe(str(folder))
    for part in (f"config.json of '{BERT}'", "tokenizer.json or vocab.txt", "one file of weights"):
        assert part in str(caught.value)


def test_the_config_of_another_bert_is_an_error(folder: Path) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"Cannot load the backbone.*belong together"):
        load_backbone(str(folder), device="cpu")
