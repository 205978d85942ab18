"""What a round costs of which the server learns the sum alone, against one that it sees."""

import csv
import shutil
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from fedretune.bench.frame import Case, Fact, Sample, Side, seconds_of
from fedretune.bench.options import Options
from fedretune.bench.rows.simulate import TimedGrid
from fedretune.bench.vectors import IMAGES_PER_SITE, MadeVectors, one_round, runner
from fedretune.cli.app_folder import find_app

#: Sites of the two rows, and the length of the default backbone's vectors.
FEW, MANY, DIM = 8, 64, 128


def row(options: Options) -> Case:
    """All exchanges of a round of 8 sites; what each sends and gets in it is among the facts."""
    return _case(options, FEW)


def many(options: Options) -> Case:
    """The same of 64 sites."""
    return _case(options, MANY)


class RoundGrid(TimedGrid):
    """Notes for each exchange whether it is a round's."""

    def send_and_receive(
        self, messages: Iterable[Any], *, timeout: float | None = None
    ) -> Iterable[Any]:
        """Exchange the messages, and note what they are and the time."""
        listed = list(messages)
        replies = super().send_and_receive(listed, timeout=timeout)
        told = listed[0].content.config_records.get("position", {"round": -1})
        self.marks[-1] = ("round" if int(told["round"]) >= 0 else "other", self.marks[-1][1])
        return replies


def _case(options: Options, sites: int) -> Case:
    app, facts = find_app(options.app), dict[str, Fact](sites=sites, dim=DIM)
    vectors = MadeVectors(options.folder, round(sites * IMAGES_PER_SITE), DIM)

    def side(secure: bool, what: str) -> Side:
        config = one_round(app, options, sites, **{"secure-aggregation": secure})
        run = runner(app, vectors.world(app, config))
        kind = "secure" if secure else "plain"
        return Side(what, partial(_measure, run, app.server_app, options, facts, kind))

    said = f"round of {sites} sites, in one process"
    return Case("s", side(True, f"a secure {said}"), side(False, f"a plain {said}"), facts)


def _measure(
    run: Callable[[Callable[[Any, Any], None]], None],
    server: Callable[[Any, Any], None],
    options: Options,
    facts: dict[str, Fact],
    kind: str,
) -> Sample:
    """Run once: the seconds of the round's exchanges; note a site's bytes in them."""
    grids = []

    def timed_server(grid: Any, context: Any) -> None:
        grids.append(RoundGrid(grid))
        server(grids[0], context)
        grids[0].marks.append(("end", time.perf_counter()))

    whole = seconds_of(lambda: run(timed_server))
    with (options.folder / "runs" / "bench" / "traffic.csv").open(newline="") as file:
        rows = [each for each in csv.DictReader(file) if int(each["round"]) >= 0]
    for way in ("up", "down"):
        size = sum(int(each["bytes"]) for each in rows if each["direction"] == way)
        facts[f"{kind}_bytes_{way}_per_site"] = round(size / len({each["site"] for each in rows}))
    shutil.rmtree(options.folder / "runs")
    return Sample(grids[0].seconds("round"), whole.peak_mib)
