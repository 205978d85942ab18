"""A round of a tenth of many small sites, against the same images in one central epoch."""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from fedretune.adaptors import build
from fedretune.bench.floor import make_bare
from fedretune.bench.frame import Case, Fact, Sample, Side, seconds_of
from fedretune.bench.memory import resident_mib
from fedretune.bench.options import Options
from fedretune.bench.rows.simulate import time_training
from fedretune.bench.vectors import IMAGES_PER_SITE, MadeVectors, one_round, runner
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.seeds import derive_seed

PARTICIPATION = 0.1


def row(options: Options) -> Case:
    """The training exchange of one round: messages of 8 MB, steps, averaging, checkpoint."""
    app, sites = find_app(options.app), options.scale.many
    config = one_round(app, options, sites, participation=PARTICIPATION)
    # Libraries are no part of what a round takes; torchmetrics is 250 MiB with all that it imports.
    _ = app.server_app, app.client_app, import_module("torchmetrics")
    start = resident_mib()
    world = MadeVectors(options.folder, round(sites * IMAGES_PER_SITE)).world(app, config)
    rows = [world.scenario.shard(site, 0, "train") for site in drawn_sites(app, world)]
    images, dim = sum(map(len, rows)), world.adaptor.dim
    facts: dict[str, Fact] = {
        "sites": sites,
        "sites_asked": len(rows),
        "images": images,
        "dim": dim,
        "steps": sum(math.ceil(len(each) / config.train.batch_size) for each in rows),
        "vectors_mib": world.embeddings.vectors.nbytes / 2**20,
        "mib_before": start,
    }
    return Case(
        "s",
        Side(
            f"a round of {len(rows)} of {sites:,} sites, {images:,} vectors of {dim} d",
            lambda: _train(app, world, options, facts),
        ),
        Side("the same images as one central epoch", _central_epoch(world, rows, facts)),
        facts,
    )


def drawn_sites(app: AppFolder, world: Any) -> list[str]:
    """Return the sites that the server asks in the first round."""
    seed = derive_seed(world.config.seed, "participation", 0, 0)
    names = sorted(world.scenario.sites)
    drawn: list[str] = app.module("server.stream").drawn(names, world.config.participation, seed)
    return drawn


def _train(app: AppFolder, world: Any, options: Options, facts: dict[str, Fact]) -> Sample:
    """Measure a round, and note its peak less the vectors' map.

    Once for the whole process, and once without what it held before the world was made.
    """
    sample = time_training(runner(app, world), app.server_app, options)
    beyond = (sample.peak_mib or 0.0) - float(facts["vectors_mib"])
    highest = max(beyond, float(facts.get("peak_mib_beyond_vectors", 0.0)))
    facts["peak_mib_beyond_vectors"] = highest
    facts["peak_mib_of_the_row"] = highest - float(facts["mib_before"])
    return sample


def _central_epoch(world: Any, rows: list[Any], facts: dict[str, Fact]) -> Callable[[], Sample]:
    settings = world.config.train
    images, labels = (
        torch.cat([torch.from_numpy(values(each)) for each in rows])
        for values in (world.embeddings.take, world.labels.__getitem__)
    )
    prompts = torch.stack([world.prompts.positive, world.prompts.negative])
    state = build(world.adaptor, 0).state_dict()

    def epoch() -> None:
        torch.set_num_threads(1)  # as the library trains
        bare = make_bare(world.adaptor.dim, settings.lr, state)
        generator = torch.Generator().manual_seed(0)
        facts["floor_steps"] = bare.visit(
            images, labels, prompts, settings.epochs, settings.batch_size, generator
        )

    return lambda: seconds_of(epoch)
