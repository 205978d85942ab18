"""Federated training under Flower's engine, against the same steps without a federation."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

from fedretune.bench.frame import Case, Sample, Side, seconds_of
from fedretune.bench.options import Options
from fedretune.bench.rows.simulate import bare_visits, made_run
from fedretune.cli.flower import run_with_flower
from fedretune.workers import cores

#: Samples a side: each is a whole run, most of which is Flower's start.
REPEATS = 5


def row(options: Options) -> Case:
    """The training part of the default run over 8 sites, once Ray is up."""
    made = made_run(options)
    facts, folder = made.facts, options.folder / "runs" / "bench"
    floor = bare_visits(made.config, made.world, facts)
    facts["actors"] = min(cores(), made.config.sites)

    def training() -> Sample:
        whole = seconds_of(lambda: run_with_flower(made.app, made.config.to_flat()))
        found = training_seconds(folder / "metrics.jsonl")
        summary = json.loads((folder / "summary.json").read_text())
        facts["start_s"] = round(whole.value - float(summary["wall_seconds"]), 2)
        shutil.rmtree(folder)
        return Sample(found, None)  # of other processes

    return Case(
        "s",
        Side(f"training over {made.config.sites} sites on Ray, after its start", training),
        Side("the same steps in a bare PyTorch loop, in one process", lambda: seconds_of(floor)),
        facts,
        REPEATS,
    )


def training_seconds(metrics: Path) -> float:
    """Return the seconds of a run's rounds: from the event before each to its own."""
    events = [json.loads(line) for line in metrics.read_text().splitlines()]
    return sum(
        float(after["time"]) - float(before["time"])
        for before, after in pairwise(events)
        if after["event"] == "round"
    )
