"""The rows that encode: how often, what, and that both sides are the same run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fedretune.backbones import describe
from fedretune.backbones.model import Backbone
from fedretune.bench import Options
from fedretune.bench.rows import embedding_vit, reencode
from fedretune.data.manifest import load_manifest
from tests.backbones.tiny import text_cfg

TINY_VISION = {"layers": 1, "width": 32, "patch_size": 16, "image_size": 32, "head_width": 16}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each batch of encoded images adds its size."""
    sizes, encode = [], Backbone.encode_images

    def counting(self: Backbone, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(Backbone, "encode_images", counting)
    return sizes


@pytest.fixture
def summaries(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return a list to which each run adds its summary before it is removed."""
    found, remove = [], shutil.rmtree

    def reading(folder: Path, ignore_errors: bool = False) -> None:
        if (summary := folder / "bench" / "summary.json").is_file():
            found.append(json.loads(summary.read_text()))
        remove(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(reencode.shutil, "rmtree", reading)
    return found


def test_one_side_encodes_each_image_once_and_the_other_at_every_epoch(
    options: Options, encoded: list[int], summaries: list[dict[str, Any]]
) -> None:
    case = reencode.row(options)
    assert case.b is not None
    table = load_manifest(options.folder / "phantoms" / "manifest.csv").table
    training = int((table["split"] == "train").sum())
    others = len(table) - training

    encoded.clear()
    case.a.measure()
    assert sum(encoded) == training + others
    encoded.clear()
    case.b.measure()
    assert case.facts["epochs"] == 25
    assert sum(encoded) == 25 * training + others
    once, again = summaries[-2:]
    assert again["final_auroc"] == pytest.approx(once["final_auroc"], abs=1e-3)
    assert again["bytes_up_per_site_round"] == once["bytes_up_per_site_round"]


def test_the_row_of_a_vit_is_the_embedding_row_on_a_model_that_it_writes(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {**embedding_vit.MODEL["text_cfg"], "width": 32}
    tiny = {"embed_dim": 24, "vision_cfg": TINY_VISION, "text_cfg": text}
    monkeypatch.setattr(embedding_vit, "MODEL", tiny)
    case = embedding_vit.row(options)
    assert case.facts["dim"] == 24
    assert 10 <= case.facts["images"] <= 40
    assert case.a.measure().value > 0


def test_a_written_model_is_the_same_each_time(tmp_path: Path) -> None:
    tiny = {"embed_dim": 8, "vision_cfg": TINY_VISION, "text_cfg": {**text_cfg()}}
    del tiny["text_cfg"]["hf_tokenizer_name"], tiny["text_cfg"]["tokenizer_kwargs"]
    one, two = (embedding_vit.write_model(tmp_path / name, tiny) for name in "ab")
    assert describe(str(one)).fingerprint == describe(str(two)).fingerprint
