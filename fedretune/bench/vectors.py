"""A world of nothing but vectors: as many sites and images as are asked for, and no files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from fedretune.backbones import BackboneInfo
from fedretune.bench.options import Options
from fedretune.cli.app_folder import AppFolder
from fedretune.data.manifest import Manifest
from fedretune.embeddings import Embeddings
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.prompts import load_prompts

#: NIH ChestX-ray14: 112,120 images of 14 findings; here, 1,000 sites share them.
IMAGES_PER_SITE, FINDINGS = 112.12, 14
#: Of CLIP's ViT-B towers and of BiomedCLIP.
DIM = 512
#: What the run is evaluated on, which no row measures: few, and at few sites.
_TEST, _TESTED_SITES = 1000, 10
_PREVALENCE = 0.1


@dataclass(frozen=True)
class MadeVectors:
    """Random vectors ``[N, dim]`` on the disk, float16, and a manifest's table and prompts.

    Parameters
    ----------
    folder : Path
        Where the vectors' file goes.
    images : int
        Training images; what is evaluated comes on top.
    dim : int (default: 512)
    """

    folder: Path
    images: int
    dim: int = DIM

    @cached_property
    def embeddings(self) -> Embeddings:
        """The vectors, memory-mapped as the store maps them."""
        path, rng = self.folder / "vectors.f16", np.random.default_rng(0)
        with path.open("wb") as file:
            for rows in np.array_split(np.arange(self._total), 100):
                drawn = rng.standard_normal((len(rows), self.dim), dtype=np.float32)
                file.write(drawn.astype(np.float16).tobytes())
        vectors = np.memmap(path, dtype=np.float16, mode="r", shape=(self._total, self.dim))
        info = BackboneInfo("made", None, "0" * 64, self.dim, "{}")
        return Embeddings(vectors, np.arange(self._total), info, 0)

    @cached_property
    def labels(self) -> NDArray[np.float32]:
        """Labels ``[N, 14]``, each positive in one image of ten."""
        drawn = np.random.default_rng(1).random((self._total, FINDINGS))
        return (drawn < _PREVALENCE).astype(np.float32)

    @cached_property
    def prompts(self) -> PromptEmbeddings:
        """Random prompt embeddings, four of each kind a finding, as of the default set."""
        drawn = torch.randn(2, FINDINGS, 4, self.dim, generator=torch.Generator().manual_seed(0))
        return PromptEmbeddings(drawn[0], drawn[1], self.findings)

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings' names."""
        return tuple(f"finding-{number:02}" for number in range(FINDINGS))

    @property
    def _total(self) -> int:
        return self.images + _TEST

    def manifest(self, sites: int) -> Manifest:
        """Return a manifest that deals the training images round robin to `sites` sites."""
        number = np.arange(self._total)
        training = number < self.images
        site = number % np.where(training, sites, min(sites, _TESTED_SITES))
        table = pd.DataFrame(
            {
                "image": [f"{each}.png" for each in number],
                "patient": [f"p{each}" for each in number],
                "split": np.where(training, "train", "test"),
                "site": [f"site-{each:04}" for each in site],
            }
        )
        labels = pd.DataFrame(self.labels, columns=list(self.findings))
        return Manifest(Path("made.csv"), table.join(labels), self.findings, number + 2)

    def world(self, app: AppFolder, config: Any) -> Any:
        """Return the app's `World` over ``config.sites`` sites."""
        scenarios, manifest = app.module("scenarios"), self.manifest(config.sites)
        scenario = scenarios.build_scenario(config, manifest.table, self.findings, config.sites)
        return app.module("clients.world").World(
            config,
            manifest,
            self.labels,
            config.sites,
            scenarios.arrange(config, scenario),
            self.embeddings,
            load_prompts(config.prompts),
            self.prompts,
            config.spec(self.dim, FINDINGS),
        )


def one_round(app: AppFolder, options: Options, sites: int, **values: Any) -> Any:
    """Return the config of a run of one experience, one round and one local epoch."""
    keys = {
        "sites": sites,
        "experiences": 1,
        "rounds": 1,
        "train.epochs": 1,
        "out": str(options.folder / "runs"),
        "name": "bench",
    }
    return app.module("scenarios").RunConfig.from_flat({**keys, **values})


@contextmanager
def opened(app: AppFolder, world: Any) -> Iterator[None]:
    """Let the app's sites live in `world` for a while."""
    with in_place_of(app.module("clients.app"), "open_world", lambda config, sites: world):
        yield


@contextmanager
def in_place_of(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """Let a module know something else by a name for a while."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def runner(app: AppFolder, world: Any) -> Callable[[Callable[[Any, Any], None]], None]:
    """Return what runs a ServerApp, in this process, over the sites of `world`."""
    simulate, client = app.module("server.simulator").simulate, app.client_app
    config = world.config

    def run(server: Callable[[Any, Any], None]) -> None:
        with opened(app, world):
            simulate(server, client, config.to_flat(), config.sites)

    return run
