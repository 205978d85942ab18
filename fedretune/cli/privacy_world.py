"""The world of a run that has ended, for those who look at it afterwards."""

import tomllib
from pathlib import Path
from typing import Any

from fedretune.cli.app_folder import AppFolder
from fedretune.errors import UserError


def world_of(app: AppFolder, run: Path) -> Any:
    """Return the world of a run.

    Raises
    ------
    UserError
        The run is not there, or its backbone is not the one that it used.
    """
    tables = tomllib.loads((run_folder(run) / "config.toml").read_text(encoding="utf-8"))
    config = app.module("scenarios").RunConfig.from_flat(tables["config"])
    world = app.module("clients.world").make_world(config, config.sites)
    if world.embeddings.info.fingerprint != tables["fingerprints"]["backbone"]:
        raise UserError(f"The backbone '{config.backbone}' is not the one that {run} used.")
    return world


def run_folder(run: Path) -> Path:
    """Return the folder. Raises `UserError` if it is none of a run."""
    if not (run / "config.toml").is_file():
        raise UserError(f"{run} is not a run folder: it has no config.toml.")
    return run
