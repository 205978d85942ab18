"""What all tests share: a cache of their own, and runs over a world without images."""

import atexit
import gc
import json
import os
import shutil
import tempfile
from functools import cache, lru_cache
from pathlib import Path

# Before anything reads it: tests neither use nor fill the user's cache, and ask no hub.
os.environ["FEDRETUNE_CACHE"] = tempfile.mkdtemp(prefix="fedretune-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import pytest

SITES = 3

atexit.register(shutil.rmtree, os.environ["FEDRETUNE_CACHE"], ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the processes that run tests: one that has workers only waits for them."""
    if config.getoption("numprocesses", None):
        return
    from hypothesis import settings

    # An example that another process kept waiting is no slow one.
    settings.register_profile("house", deadline=None)
    settings.load_profile("house")
    # No power is cut here, and what a killed process has written is there without it.
    os.fsync = lambda _: None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no worker waits for one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Spare each later search for garbage what is here for good: torch, and all tests."""
    gc.collect()
    gc.freeze()


def synthetic(out: Path, patch: pytest.MonkeyPatch):
    """Give a function from config to the (folder, summary) of a run of the two apps in `out`."""
    import clients.app
    import server.app
    from server import simulator
    from tests.worlds import make_world

    world_of = lru_cache(lambda config, sites: make_world(config, sites))
    patch.setattr(clients.app, "open_world", world_of)

    def run(name: str = "run", client_app=None, sites: int = SITES, workers: int = 1, **values):
        keys = {key.replace("__", ".").replace("_", "-"): value for key, value in values.items()}
        config = {"out": str(out), "name": name, "sites": sites, "experiences": 2, "rounds": 2}
        app = client_app or clients.app.app
        simulator.simulate(server.app.app, app, {**config, **keys}, sites, workers)
        folder = out / name
        return folder, json.loads((folder / "summary.json").read_text())

    return run


@pytest.fixture
def synthetic_run(tmp_path, monkeypatch):
    """Run the two apps over a synthetic world; give a function from config to (folder, summary)."""
    return synthetic(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The same of an undisturbed run, made once however many tests look at it: none changes it."""

    @cache
    def made(*values):
        with pytest.MonkeyPatch.context() as patch:
            return synthetic(tmp_path_factory.mktemp("finished"), patch)(**dict(values))

    return lambda **values: made(*sorted(values.items()))
