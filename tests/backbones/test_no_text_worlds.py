"""A world whose backbone reads no text: probes work in it, and what needs prompts says so."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clients.site import Site
from clients.world import make_world
from fedretune.adaptors import build, to_arrays
from fedretune.errors import UserError
from scenarios import RunConfig
from tests.backbones.test_vit import mae_state
from tests.embeddings.test_embed_images import make_manifest


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str | int]:
    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path / "cache"))
    torch.save({"model": mae_state(depth=1)}, tmp_path / "MRM.pth")
    manifest = make_manifest(tmp_path, 6)
    lines = manifest.path.read_text().replace("train,0", "train,1", 2)
    manifest.path.write_text(lines.replace("5.png,train", "5.png,test"))
    return {
        "backbone": f"vit-mrm:{tmp_path / 'MRM.pth'}",
        "manifest": str(manifest.path),
        "partition": "iid",
        "sites": 1,
        "experiences": 1,
    }


@pytest.mark.parametrize("method", ["linear-probe", "mlp-probe"])
def test_a_probe_needs_no_text(keys: dict[str, str | int], method: str) -> None:
    world = make_world(RunConfig.from_flat({**keys, "method": method}), 1)
    assert world.embeddings.info.reads_text is False
    site = Site(world.scenario.sites[0], world)
    model = to_arrays(build(world.adaptor, 1))
    assert site._scores(model)["difference"].shape == (1, 1)
    # The frozen model, which has nothing to compare an image with, tells none from another.
    assert np.array_equal(site._scores(None)["difference"], np.zeros((1, 1), np.float32))


def test_a_method_with_prompts_says_what_is_missing_before_anything_is_encoded(
    keys: dict[str, str | int], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no text tower.*linear-probe and mlp-probe"):
        make_world(RunConfig.from_flat({**keys, "method": "retune"}), 1)
    assert not (tmp_path / "cache" / "embeddings").exists()
