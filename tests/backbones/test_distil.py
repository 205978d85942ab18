"""A small ViT that phantom-clip has taught: LoRA goes into it, and prompts mean something to it."""

from pathlib import Path

import pytest
import torch

from fedretune.backbones import load_backbone
from fedretune.backbones.pretrain.distil import VISION, Distilling, distil
from fedretune.errors import UserError
from fedretune.tuning import use


@pytest.mark.long
def test_it_is_a_transformer_beside_phantom_clips_text_tower_and_the_seed_decides(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    folders = [
        distil(tmp_path / each, Distilling(12, 2), 5, lambda what, *_: told.append(what))
        for each in "ab"
    ]
    weights = [(each / "open_clip_model.safetensors").read_bytes() for each in folders]
    assert weights[0] == weights[1]
    assert set(told) == {"Rendering", "Training"}
    assert "phantom-clip's" in (folders[0] / "MODEL_CARD.md").read_text()
    layout = use(f"local-dir:{folders[0]}")
    assert (layout.width, layout.depth, layout.tokens) == (VISION["width"], VISION["layers"], 65)
    texts = ["no evidence of edema", "findings suggesting mass"]
    mine, own = (load_backbone(n, "cpu") for n in (f"local-dir:{folders[0]}", "phantom-clip"))
    assert torch.equal(mine.encode_texts(texts), own.encode_texts(texts))


def test_no_time_and_a_full_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"from 0.5 to 600"):
        Distilling.of(0.1)
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="empty"):
        distil(tmp_path, Distilling(12, 2), 5, lambda *_: None)
