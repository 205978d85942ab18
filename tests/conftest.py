"""What all tests share: a cache of their own, and a run over a world without images."""

import atexit
import json
import os
import shutil
import tempfile
from functools import lru_cache

# Before anything reads it: tests neither use nor fill the user's cache, and ask no hub.
os.environ["FEDRETUNE_CACHE"] = tempfile.mkdtemp(prefix="fedretune-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import pytest
from hypothesis import settings

import clients.app
import server.app
from server.simulator import simulate
from tests.worlds import make_world

SITES = 3

# An example that another process kept waiting is no slow one.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

atexit.register(shutil.rmtree, os.environ["FEDRETUNE_CACHE"], ignore_errors=True)


@pytest.fixture
def synthetic_run(tmp_path, monkeypatch):
    """Run the two apps over a synthetic world; give a function from config to (folder, summary)."""
    world_of = lru_cache(lambda config, sites: make_world(config, sites))
    monkeypatch.setattr(clients.app, "open_world", world_of)

    def run(
        name: str = "run",
        client_app=clients.app.app,
        sites: int = SITES,
        workers: int = 1,
        **values,
    ):
        keys = {key.replace("__", ".").replace("_", "-"): value for key, value in values.items()}
        config = {"out": str(tmp_path), "name": name, "sites": sites, "experiences": 2, "rounds": 2}
        simulate(server.app.app, client_app, {**config, **keys}, sites, workers)
        folder = tmp_path / name
        return folder, json.loads((folder / "summary.json").read_text())

    return run
