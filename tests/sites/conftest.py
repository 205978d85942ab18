import os
from pathlib import Path

import pytest

from tests.cli.conftest import fedretune, out, refused  # noqa: F401
from tests.cli.tiny import make_tiny
from tests.sites.hospitals import Hospitals, make_hospitals


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def hospitals(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospitals:
    # A real site's process sets it for good; and a cache that both share encodes once.
    monkeypatch.setenv("FEDRETUNE_CACHE", os.environ["FEDRETUNE_CACHE"])
    made = make_hospitals(tmp_path / "hospitals", tiny)
    for name in ("north", "south"):
        made.change(name, "site.toml", cache=os.environ["FEDRETUNE_CACHE"])
        made.change(name, "policy.toml", smallest_shard=0)  # there are few images
    return made
