"""Three small backbones, one of each layout that can be tuned, held by the process."""

from pathlib import Path

import pytest

from tests.cli.tiny import Tiny, make_tiny
from tests.tuning import vits


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the backbones' names: MRM's shape, open_clip's own ViT, open_clip's of timm's."""
    folder: Path = tmp_path_factory.mktemp("vits")
    return {
        "mrm": f"vit-mrm:{vits.write_mrm(folder / 'MRM.pth')}",
        "open_clip": f"local-dir:{vits.write_clip(folder / 'clip')}",
        "timm": f"local-dir:{vits.write_timm_clip(folder / 'timm')}",
    }


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Return a tiny manifest of phantoms at two sites."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))
