"""The world of a run that has ended, for those who look at it afterwards."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedretune.cli.app_folder import AppFolder
from fedretune.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedretune.adaptors import Model
    from fedretune.privacy.attacks.target import Examples
    from fedretune.privacy.dp import Mechanism


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


def rows_of(world: Any, *splits: str) -> "NDArray[np.int64]":
    """Return the manifest's rows of these splits at all sites, each once, in their order."""
    import numpy as np

    scenario = world.scenario
    found: NDArray[np.int64] = np.unique(
        np.concatenate([scenario.rows(site, each) for site in scenario.sites for each in splits])
    )
    return found


def mechanism_of(app: AppFolder, world: Any) -> "Mechanism | None":
    """Return how the run's sites hide what they learn from; None where they do not."""
    if not world.config.privacy.at_sites:
        return None
    found: Mechanism = app.module("clients.private").mechanism_of(world, world.scenario.sites[0])
    return found


def learn(
    world: Any, mechanism: "Mechanism | None", model: "Model", examples: "Examples", seed: int
) -> None:
    """Train a model in place as a site of the run would in a round, its noise drawn anew."""
    from fedretune.privacy.dp import train_private
    from fedretune.privacy.noise import Seeded
    from fedretune.training import TrainingSettings, train

    config = world.config
    settings = TrainingSettings(**config.train.model_dump(), pooling=config.pooling)
    given = (model, examples.images, examples.labels, world.prompts, settings)
    if mechanism is None:
        train(*given, seed)
    else:
        train_private(*given, mechanism, Seeded(seed))
