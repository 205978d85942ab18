"""The bench at its smallest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedretune.bench import Options, Scale
from fedretune.bench.run import cache_in
from tests.backbones.tiny import write_folder

TINY = Scale(
    repeats=1,
    rendered=2,
    embedded=30,
    patients=240,
    experiences=2,
    rounds=5,
    reencoded=30,
    many=20,
)
APP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a tiny backbone."""
    return f"local-dir:{write_folder(tmp_path_factory.mktemp('bench') / 'tiny')}"


@pytest.fixture
def options(backbone: str, tmp_path: Path) -> Iterator[Options]:
    """Give options at the smallest scale, with a cache of their own."""
    with cache_in(tmp_path / "cache"):
        yield Options(TINY, backbone, APP, tmp_path)
