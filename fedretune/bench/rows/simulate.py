"""Federated training in one process, against the same optimizer steps without a federation."""

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from fedretune.adaptors import build
from fedretune.bench.floor import make_bare
from fedretune.bench.frame import Case, Fact, Sample, Side, seconds_of
from fedretune.bench.made import make_manifest
from fedretune.bench.options import Options
from fedretune.cli.app_folder import AppFolder, find_app

SITES = 8


@dataclass(frozen=True)
class MadeRun:
    """The default run over 8 sites, with vectors made for it."""

    app: AppFolder
    config: Any
    world: Any

    @property
    def facts(self) -> dict[str, Fact]:
        """What a row says of it."""
        return {"sites": SITES, "dim": self.world.adaptor.dim}

    def simulated(self, workers: int) -> Callable[[Callable[[Any, Any], None]], None]:
        """Return what runs a ServerApp over the sites, shared among processes."""
        simulate, client = self.app.module("server.simulator").simulate, self.app.client_app
        return lambda server: simulate(server, client, self.config.to_flat(), SITES, workers)


def made_run(options: Options) -> MadeRun:
    """Make the run's images' vectors, and what a site's process knows."""
    app = find_app(options.app)
    values = {
        "manifest": str(make_manifest(options, SITES)),
        "backbone": options.backbone,
        "sites": SITES,
        "experiences": options.scale.experiences,
        "rounds": options.scale.rounds,
        "out": str(options.folder / "runs"),
        "name": "bench",
    }
    config = app.module("scenarios").RunConfig.from_flat(values)
    return MadeRun(app, config, app.module("clients.world").make_world(config, SITES))


def row(options: Options) -> Case:
    """The training part of the default run over 8 sites: all but evaluation and start-up."""
    made = made_run(options)
    facts, server = made.facts, made.app.server_app
    floor = bare_visits(made.config, made.world, facts)
    return Case(
        "s",
        Side(
            f"training over {SITES} sites: steps, messages, averaging, checkpoints",
            lambda: time_training(made.simulated(workers=1), server, options),
        ),
        Side("the same steps in a bare PyTorch loop", lambda: seconds_of(floor)),
        facts,
    )


@dataclass
class TimedGrid:
    """A Flower `Grid` that notes when each exchange begins; all else is the wrapped one's."""

    grid: Any
    marks: list[tuple[str, float]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(
        self, messages: Iterable[Any], *, timeout: float | None = None
    ) -> Iterable[Any]:
        """Exchange the messages, and note their type and the time."""
        listed = list(messages)
        self.marks.append((listed[0].metadata.message_type, time.perf_counter()))
        replies: Iterable[Any] = self.grid.send_and_receive(listed, timeout=timeout)
        return replies

    def seconds(self, message_type: str) -> float:
        """Return the seconds from each exchange of a type to the beginning of the next exchange.

        So a round's cost includes the server's work on its replies, and the checkpoint. The end
        of the run must have been noted.
        """
        following = zip(self.marks, self.marks[1:], strict=False)
        return sum(end - start for (kind, start), (_, end) in following if kind == message_type)


def time_training(
    run: Callable[[Callable[[Any, Any], None]], None],
    server: Callable[[Any, Any], None],
    options: Options,
) -> Sample:
    """Run the ServerApp once: the seconds of its training exchanges, and the peak of the run."""
    grids = []

    def timed_server(grid: Any, context: Any) -> None:
        grids.append(TimedGrid(grid))
        server(grids[0], context)
        grids[0].marks.append(("end", time.perf_counter()))

    whole = seconds_of(lambda: run(timed_server))
    shutil.rmtree(options.folder / "runs")
    return Sample(grids[0].seconds("train"), whole.peak_mib)


def bare_visits(config: Any, world: Any, facts: dict[str, Any]) -> Callable[[], None]:
    """Return the floor: every site's visit of every round, in order, over the same vectors."""
    scenario, settings = world.scenario, config.train
    shards = [
        [
            (torch.from_numpy(world.embeddings.take(rows)), torch.from_numpy(world.labels[rows]))
            for site in scenario.sites
            if len(rows := scenario.shard(site, experience, "train"))
        ]
        for experience in range(scenario.experiences)
    ]
    prompts = torch.stack([world.prompts.positive, world.prompts.negative])
    state = build(world.adaptor, 0).state_dict()

    def visits() -> None:
        torch.set_num_threads(1)  # as the library trains: faster than more, and the same for both
        bare = make_bare(world.adaptor.dim, settings.lr, state)
        generator = torch.Generator().manual_seed(0)
        facts["steps"] = sum(
            bare.visit(*shard, prompts, settings.epochs, settings.batch_size, generator)
            for experience in shards
            for _ in range(config.rounds)
            for shard in experience
        )

    return visits
