"""Small whole runs in which sites attack or fail, over vectors made for the test."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import clients.app
import server.app
from clients.network import Network
from clients.staging import staged
from scenarios import RunConfig
from server.simulator import simulate
from tests.run_folders import adaptors
from tests.worlds import make_world

SITES = 5


@dataclass(frozen=True)
class Ended:
    """A run that has come to its end."""

    folder: Path

    @property
    def adaptors(self) -> bytes:
        return adaptors(self.folder)

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def sites(self) -> pd.DataFrame:
        """``sites.csv``, without the handshakes."""
        table = pd.read_csv(self.folder / "sites.csv", keep_default_na=False)
        return table[table["experience"] >= 0]


@dataclass(frozen=True)
class Runs:
    """Makes runs of two experiences of two rounds in a folder."""

    out: Path

    def __call__(
        self, name: str, workers: int = 1, network: Network | None = None, **values: object
    ) -> Ended:
        keys = {key.replace("__", ".").replace("_", "-"): value for key, value in values.items()}
        config: dict[str, Any] = {"out": str(self.out), "name": name, "sites": SITES}
        config |= {"experiences": 2, "rounds": 2, "train.epochs": 1, **keys}
        app, staged_network = staged(clients.app.app, RunConfig.from_flat(config))
        simulate(server.app.app, app, config, SITES, workers, network=network or staged_network)
        return Ended(self.out / name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Give what makes runs; each module has a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        world_of = lru_cache(lambda config, sites: make_world(config, sites, patients=100))
        patch.setattr(clients.app, "open_world", world_of)
        yield Runs(tmp_path_factory.mktemp("runs"))
