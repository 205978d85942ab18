"""The BioViL pair, from files of the published names and shapes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor
from transformers import BertConfig, BertForMaskedLM

from fedretune.backbones import describe, load_backbone
from fedretune.backbones.biovil import IMAGE
from fedretune.backbones.model import Backbone
from fedretune.errors import UserError
from tests.backbones.biovil_stand_in import BERT, write_biovil

TEXTS = ["There is no edema", "No evidence of mass"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_biovil(tmp_path_factory.mktemp("biovil") / "pair")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Backbone:
    return load_backbone(f"biovil:{folder}", device="cpu")


def gradient(size: int = 300) -> Image.Image:
    column = np.linspace(40, 200, size, dtype=np.uint8)
    return Image.fromarray(np.add.outer(column, np.arange(size + 20) % 50).astype(np.uint8))


def test_the_image_vector_is_the_mean_of_projected_cells(folder: Path, backbone: Backbone) -> None:
    weights = torch.load(folder / IMAGE, weights_only=True)
    resnet = torchvision.models.resnet50()
    prefix = "encoder.encoder."
    resnet.load_state_dict({k[len(prefix) :]: v for k, v in weights.items() if prefix in k})
    trunk = torch.nn.Sequential(*list(resnet.eval().children())[:-2])
    images = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        x = F.conv2d(trunk(images), weights["projector.model.0.weight"])
        norm = [weights[f"projector.model.1.{k}"] for k in ("running_mean", "running_var")]
        scale = [weights[f"projector.model.1.{k}"] for k in ("weight", "bias")]
        x = F.relu(F.batch_norm(x, *norm, *scale))
        x = F.conv2d(x, weights["projector.model.3.weight"], weights["projector.model.3.bias"])
    torch.testing.assert_close(backbone.encode_images(images), x.mean((2, 3)), atol=1e-4, rtol=1e-3)


def test_the_text_vector_is_the_projected_cls_of_the_last_layer(
    folder: Path, backbone: Backbone
) -> None:
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    bert = BertForMaskedLM(BertConfig(**BERT)).eval()
    bert.load_state_dict({k: v for k, v in weights.items() if k in bert.state_dict()})
    head = {k.split(".", 1)[1]: v for k, v in weights.items() if k.startswith("cls_projection")}
    for text in TEXTS:  # each alone, so that padding must not matter
        ids = backbone.towers.tokenizer([text])
        with torch.no_grad():
            found = bert(ids, torch.ones_like(ids), output_hidden_states=True)
            x = found.hidden_states[-1][:, 0]
            x = F.gelu(F.linear(x, head["dense_to_hidden.weight"], head["dense_to_hidden.bias"]))
            x = F.layer_norm(
                x, x.shape[1:], head["LayerNorm.weight"], head["LayerNorm.bias"], 1e-12
            )
            x = F.linear(x, head["dense_to_output.weight"], head["dense_to_output.bias"])
        both = backbone.encode_texts([text, "findings suggesting mass edema nodule hernia"])
        torch.testing.assert_close(both[:1], x, atol=1e-4, rtol=1e-3)


def test_an_image_is_prepared_as_the_authors_library_does(backbone: Backbone) -> None:
    image = gradient()
    pixels = np.asarray(image).astype(float)
    pixels -= pixels.min()
    pixels /= pixels.max()
    stretched = Image.fromarray((pixels * 255).astype(np.uint8))
    authors = Compose([Resize(512), CenterCrop(480), ToTensor()])
    expected = authors(stretched).repeat(3, 1, 1)
    torch.testing.assert_close(backbone.preprocess(image), expected, atol=1.01 / 255, rtol=0)


def test_an_image_of_one_level_has_finite_pixels(backbone: Backbone) -> None:
    assert bool(torch.isfinite(backbone.preprocess(Image.new("L", (50, 50), 7))).all())


def test_texts_are_cut_at_what_the_text_tower_reads(backbone: Backbone) -> None:
    assert backbone.encode_texts([" ".join(["mass edema nodule"] * 20)]).shape == (1, 128)


def test_it_is_described_without_loading_and_other_weights_have_another_fingerprint(
    folder: Path, tmp_path: Path
) -> None:
    info = describe(f"biovil:{folder}")
    assert (info.dim, info.reads_text, info.folder) == (128, True, folder)
    assert json.loads(info.preprocessing)["resize"] == 512
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    with (other / IMAGE).open("ab") as file:
        file.write(b" ")
    assert describe(f"biovil:{other}").fingerprint != info.fingerprint


@pytest.mark.parametrize("name", [IMAGE, "config.json", "vocab.txt", "pytorch_model.bin"])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    lacking = Path(shutil.copytree(folder, tmp_path / "lacking"))
    (lacking / name).unlink()
    with pytest.raises(UserError, match=f"lacks {name}"):
        describe(f"biovil:{lacking}")


def test_weights_of_another_model_are_named(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    torch.save({"encoder.encoder.conv1.weight": torch.zeros(1)}, other / IMAGE)
    with pytest.raises(UserError, match=r"proj_size_128\.pt.*expected"):
        load_backbone(f"biovil:{other}")


def test_a_config_of_another_kind_is_an_error(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    (other / "config.json").write_text("[1, 2]")
    with pytest.raises(UserError, match=r"config\.json is no config of a BERT"):
        describe(f"biovil:{other}")
