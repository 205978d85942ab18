"""Embedding prompts."""

from pathlib import Path

import pytest
import torch

from fedretune.backbones import load_backbone
from fedretune.embeddings import embed_prompts, prompts
from fedretune.prompts import PromptSet, load_prompts
from tests.backbones.tiny import write_folder

FINDINGS = ("Mass", "Edema", "Pleural Thickening")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def load(name: str, *options: object) -> object:
        seen.append(name)
        return load_backbone(name, *options)

    monkeypatch.setattr(prompts, "load_backbone", load)
    return seen


def test_each_prompt_is_where_its_finding_and_side_say(backbone: str) -> None:
    embedded = embed_prompts(load_prompts(), FINDINGS, backbone)
    assert embedded.findings == FINDINGS
    assert embedded.positive.shape == embedded.negative.shape == (3, 4, 16)
    model = load_backbone(backbone)
    expected = model.encode_texts(["Findings suggesting Edema", "No signs of Pleural Thickening"])
    torch.testing.assert_close(embedded.positive[1, 1], expected[0])
    torch.testing.assert_close(embedded.negative[2, 3], expected[1])


def test_prompts_are_encoded_once(backbone: str, loads: list[str]) -> None:
    first = embed_prompts(load_prompts(), FINDINGS, backbone)
    second = embed_prompts(load_prompts(), FINDINGS, backbone)
    assert loads == [backbone]
    assert torch.equal(first.positive, second.positive)
    assert torch.equal(first.negative, second.negative)


def test_other_findings_prompts_or_weights_are_encoded_anew(
    backbone: str, loads: list[str], tmp_path: Path
) -> None:
    embed_prompts(load_prompts(), FINDINGS, backbone)
    embed_prompts(load_prompts(), FINDINGS[:2], backbone)
    embed_prompts(PromptSet("mine", ("{c}",), ("no {c}",)), FINDINGS, backbone)
    embed_prompts(load_prompts(), FINDINGS, str(write_folder(tmp_path / "other", seed=5)))
    assert len(loads) == 4


def test_a_damaged_cache_is_encoded_anew(backbone: str, loads: list[str], tmp_path: Path) -> None:
    first = embed_prompts(load_prompts(), FINDINGS, backbone)
    (file,) = (tmp_path / "cache" / "prompts").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    second = embed_prompts(load_prompts(), FINDINGS, backbone)
    assert len(loads) == 2
    assert torch.equal(first.positive, second.positive)
