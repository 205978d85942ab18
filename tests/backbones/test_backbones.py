"""Describing and loading backbones, and the folders that must not load."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from fedretune.backbones import describe, hub, load_backbone, open_clip_source
from fedretune.errors import UserError
from tests.backbones.tiny import write_bert_folder, write_folder

TEXTS = ["There is no edema", "Findings suggesting mass", "No signs of hernia"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("backbones") / "tiny")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert_folder(tmp_path_factory.mktemp("backbones") / "bert")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def edit_config(folder: Path, change: object) -> None:
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    change(content)  # type: ignore[operator]
    path.write_text(json.dumps(content))


def image(seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (48, 40), dtype=np.uint8)
    return Image.fromarray(noise)


def test_vectors_are_those_of_open_clip_itself(original: Path) -> None:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{original}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{original}")
    backbone = load_backbone(str(original), device="cpu")
    batch = torch.stack([transform(image(0)), transform(image(1))])
    with torch.no_grad():
        torch.testing.assert_close(
            backbone.encode_images(batch), model.eval().encode_image(batch), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            backbone.encode_texts(TEXTS), model.encode_text(tokenizer(TEXTS)), atol=1e-5, rtol=1e-4
        )
    assert torch.equal(backbone.preprocess(image()), transform(image()))


def test_a_backbone_is_frozen_and_gives_float32_on_the_cpu(original: Path) -> None:
    backbone = load_backbone(f"local-dir:{original}")
    vectors = backbone.encode_images(backbone.preprocess(image())[None])
    assert (vectors.dtype, vectors.device.type, vectors.shape) == (torch.float32, "cpu", (1, 16))
    assert not vectors.requires_grad
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert backbone.encode_texts([]).shape == (0, 16)


def test_more_texts_than_a_batch_come_back_in_order(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_backbone(str(original))
    whole = backbone.encode_texts(TEXTS)
    monkeypatch.setattr("fedretune.backbones.model._TEXTS", 2)
    torch.testing.assert_close(backbone.encode_texts(TEXTS), whole)


def test_a_text_tower_named_by_its_address_loads_from_the_folder(bert: Path) -> None:
    backbone = load_backbone(str(bert))
    weights = torch.load(bert / "open_clip_pytorch_model.bin", weights_only=True)
    for name, value in backbone.model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert backbone.encode_texts(TEXTS).shape == (3, 16)


def test_loading_says_nothing_of_random_weights(
    original: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_backbone(str(original))
    assert "random" not in caplog.text
    logging.warning("still heard")
    assert "still heard" in caplog.text


def test_the_description_is_what_is_loaded(original: Path) -> None:
    info = describe(str(original))
    backbone = load_backbone(str(original))
    assert backbone.info == info
    assert (info.dim, info.folder) == (16, original)
    assert json.loads(info.preprocessing) == json.loads(
        json.dumps(open_clip.create_model(f"local-dir:{original}").visual.preprocess_cfg)
    )


def test_describing_a_folder_needs_no_torch(original: Path) -> None:
    code = (
        "import sys; from fedretune.backbones import describe; describe(sys.argv[1]);"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(original)]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_copy_elsewhere_has_the_same_fingerprint(original: Path, folder: Path) -> None:
    (folder / "README.md").write_text("no part of the embedding")
    assert describe(str(folder)).fingerprint == describe(str(original)).fingerprint


@pytest.mark.parametrize(
    "name", ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"]
)
def test_a_changed_file_changes_the_fingerprint(folder: Path, name: str) -> None:
    before = describe(str(folder)).fingerprint
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert describe(str(folder)).fingerprint != before


def test_the_text_towers_config_is_part_of_the_fingerprint(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    with (folder / "config.json").open("a") as file:
        file.write(" ")
    assert describe(str(folder)).fingerprint != describe(str(bert)).fingerprint


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_weights_are_those_that_open_clip_would_take(tmp_path: Path, count: int) -> None:
    from open_clip.factory import _find_checkpoint_in_dir

    for name in open_clip_source._WEIGHTS[-count:]:
        (tmp_path / name).touch()
    assert str(open_clip_source._weights(tmp_path)) == _find_checkpoint_in_dir(tmp_path)


def fails(name: str | Path, *messages: str) -> None:
    with pytest.raises(UserError) as caught:
        load_backbone(str(name))
    for message in messages:
        assert message in str(caught.value)


def test_a_folder_without_tokenizer_is_an_error(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    fails(folder, "has no tokenizer", "tokenizer.json")
    with pytest.raises(UserError, match="has no tokenizer"):
        describe(str(folder))


def test_a_tokenizer_without_vocabulary_is_an_error(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "edema": 4}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    fails(folder, "knows 5 tokens", "vocabulary is missing")


def test_a_tokenizer_larger_than_the_text_tower_is_an_error(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"word{number}": 100 + number for number in range(90)}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    fails(folder, "do not belong together")


def test_a_folder_without_weights_is_an_error_and_not_random(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    fails(folder, "one file of weights", "random")


def test_two_weights_without_a_known_name_are_an_error(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    shutil.copy(weights, folder / "one.safetensors")
    weights.rename(folder / "two.safetensors")
    fails(folder, "one file of weights", "one.safetensors, two.safetensors")


def test_weights_of_another_model_are_an_error(folder: Path) -> None:
    edit_config(folder, lambda content: content["model_cfg"].update(embed_dim=8))
    fails(folder, "Cannot load the backbone", str(folder), "belong together")


def test_damaged_weights_are_an_error(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    fails(folder, "Cannot load the backbone", str(folder))


def test_a_folder_without_config_is_an_error(folder: Path) -> None:
    (folder / "open_clip_config.json").unlink()
    fails(folder, "Cannot read the backbone's config")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model_cfg": {"embed_dim": 3}}'])
def test_a_config_that_is_none_is_an_error(folder: Path, text: str) -> None:
    (folder / "open_clip_config.json").write_text(text)
    fails(folder, "open_clip_config.json")


def test_a_text_tower_without_its_config_is_an_error(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    (folder / "config.json").unlink()
    fails(folder, "config.json", "nobody/such-a-bert")


def test_a_text_tower_without_a_tokenizers_name_is_an_error(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    edit_config(folder, lambda c: c["model_cfg"]["text_cfg"].pop("hf_tokenizer_name"))
    fails(folder, "hf_tokenizer_name", "nobody/such-a-bert")


def test_an_unknown_name_and_a_missing_folder_are_errors(tmp_path: Path) -> None:
    fails("phantom-klip", "Unknown backbone 'phantom-klip'", "phantom-clip")
    fails(f"local-dir:{tmp_path / 'gone'}", "There is no backbone folder")
    fails("../gone", "Unknown backbone")


def test_an_unknown_device_is_an_error(original: Path) -> None:
    with pytest.raises(UserError, match="'abacus' is not there"):
        load_backbone(str(original), device="abacus")


@pytest.mark.parametrize("name", ["ViT-B-32/openai", "ViT-B-32", "hf-hub:somebody/something"])
def test_the_hub_is_asked_only_when_allowed(name: str) -> None:
    fails(name, name, "--allow-hub", "local-dir:")


def test_an_unknown_tag_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"no weights 'opnai'.*openai"):
        describe("ViT-B-32/opnai", allow_hub=True)


def test_weights_of_another_activation_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="ViT-B-32-quickgelu/openai"):
        describe("ViT-B-32/openai", allow_hub=True)


def test_a_repository_of_the_hub_becomes_a_folder_with_its_text_towers_config(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot(repository: str, *, local_dir: Path, allow_patterns: list[str]) -> None:
        assert repository == "somebody/something"
        shutil.copytree(bert, local_dir, ignore=shutil.ignore_patterns("config.json"))

    def download(repository: str, name: str, *, local_dir: Path) -> None:
        assert repository == "nobody/such-a-bert"
        shutil.copy(bert / name, local_dir)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    fetched = describe("hf-hub:somebody/something", allow_hub=True)
    assert fetched.fingerprint == describe(str(bert)).fingerprint


def test_a_failed_fetch_is_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(UserError, match=r"no route to host.*local-dir:"):
        hub.fetch_repository("somebody/something")


@pytest.fixture(scope="module")
def built_in_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small model that open_clip has a config of."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt", pretrained=None)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(model.half().state_dict(), path)
    return path


def test_a_built_in_model_takes_its_weights_from_a_file(built_in_weights: Path) -> None:
    backbone = load_backbone(f"ViT-S-32-alt/{built_in_weights}")
    assert backbone.info.folder is None
    assert backbone.encode_texts(TEXTS).shape == (3, backbone.info.dim)
    preprocessing = open_clip.create_model("ViT-S-32-alt").visual.preprocess_cfg
    assert json.loads(backbone.info.preprocessing) == json.loads(json.dumps(preprocessing))
