"""``fedretune study``: a whole table over methods, scenarios and seeds, from one command."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli import runs
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.console import console, say
from fedretune.cli.stopping import stoppable
from fedretune.errors import RunFailedError, UserError
from fedretune.study.plan import (
    CONVENTIONS,
    METHODS,
    QUICK,
    QUICK_SEEDS,
    SCENARIOS,
    SEEDS,
    Cell,
    names_in,
    seeds_in,
)

if TYPE_CHECKING:
    from fedretune.study.checks import Choice
    from fedretune.study.report import Report

#: `--quick` draws so many patients at so many hospitals where no manifest is given.
QUICK_PATIENTS, QUICK_SITES = 240, 2

Configs = Mapping[Cell, dict[str, Any]]

app = typer.Typer(no_args_is_help=True, help="Compare methods: many runs, one table.")


@app.callback()
def study() -> None:
    """Keep `retune` a command of its own name, also while it is the only one."""


@app.command("retune")
def retune(
    scenarios: Annotated[
        str | None, typer.Option(help=f"Names with commas; default: {', '.join(SCENARIOS)}.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help=f"Names with commas; default: {', '.join(METHODS)}.")
    ] = None,
    unlabelled: Annotated[
        str, typer.Option(help="What becomes of withheld labels: names with commas.")
    ] = ",".join(CONVENTIONS),
    seeds: Annotated[str | None, typer.Option(help="Numbers with commas; default: 1,2,3.")] = None,
    manifest: runs.ManifestPath = None,
    backbone: runs.BackboneName = None,
    sites: runs.Sites = None,
    experiences: runs.Experiences = None,
    rounds: runs.Rounds = None,
    recipe: runs.Recipe = None,
    settings: runs.Setting = None,
    out: Annotated[Path, typer.Option(help="The study's folder.")] = Path("runs/study-retune"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Two seeds, and as little of everything as will do.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Runs at once; 0: one a core.")] = 0,
    app: runs.AppPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table to stdout.")] = False,
) -> None:
    """Run RE-tune, its remedies and what they are compared with, over scenarios and seeds.

    Writes table.csv, table.md and a folder for each run.
    Stopped or killed, the same command goes on where it was.
    """
    from fedretune.study.checks import Choice

    keys = {"manifest": manifest, "backbone": backbone, "sites": sites, "recipe": recipe}
    keys |= {"experiences": experiences, "rounds": rounds}
    base = {key: value for key, value in keys.items() if value is not None}
    base |= runs.parse_settings(settings or [])
    choice = Choice(
        SCENARIOS if scenarios is None else names_in(scenarios, "--scenarios"),
        None if methods is None else names_in(methods, "--methods"),
        names_in(unlabelled, "--unlabelled"),
        seeds_in(seeds) if seeds is not None else QUICK_SEEDS if quick else SEEDS,
    )
    folder, out = find_app(app), out.expanduser().absolute()
    with stoppable(lambda: "What is drawn and encoded is kept: the same command goes on."):
        if quick:
            base = {**QUICK, **_quick_data(base, out), **base}
        configs = _prepare(folder, choice, base, out / "runs")
    report, failed = _run(folder, configs, out, jobs)
    _finish(report, failed, as_json)


def _quick_data(base: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Draw the few phantoms of `--quick` into the study's folder, once, if nothing is named."""
    from fedretune.data.phantoms import write

    if "manifest" in base:
        return {}
    manifest = out / "phantoms" / "manifest.csv"
    if not manifest.is_file():
        write(manifest.parent, QUICK_PATIENTS, QUICK_SITES, seed=0)
    return {"manifest": str(manifest)}


def _prepare(app: AppFolder, choice: "Choice", base: dict[str, Any], out: Path) -> Configs:
    """Make the data; return every cell's resolved config, checked before anything is trained."""
    from fedretune.study.checks import Checks

    choice.check(app.module, base)
    configs = app.module("scenarios").RunConfig
    start = {**base, "scenario": choice.scenarios[0], "seed": choice.seeds[0], "out": str(out)}
    flat = configs.from_flat(start).to_flat()
    if flat["manifest"] != "phantoms":
        flat["manifest"] = str(Path(flat["manifest"]).expanduser().absolute())
    hospitals = runs.make_data(app, flat)
    world = app.module("clients.world").make_world(configs.from_flat(flat), 0)
    # Runs are side by side already.
    shared = {"manifest": flat["manifest"], "sites": hospitals, "out": str(out), "workers": 1}
    return Checks(app.module, {**base, **shared}, world.manifest).configs(choice)


def _run(app: AppFolder, configs: Configs, out: Path, jobs: int) -> tuple["Report", dict[str, str]]:
    """Run what is not done, and write the tables after each run; return why some failed."""
    from fedretune.study.report import Report
    from fedretune.study.runner import run_cells
    from fedretune.workers import cores

    with _alone(out):
        report = Report(out, [cell.name for cell in configs], _changed(app, configs))
        todo = _todo(app, configs)
        for cell in configs:
            if cell not in todo:
                _take(app, report, cell)
        say(f"[bold]{len(configs)} runs[/], of which {len(report.rows)} are done.")
        report.write()
        if not todo:
            return report, {}
        engine, at_once = partial(runs.execute, "simulate", app), min(jobs or cores(), len(todo))
        ended = run_cells(todo, engine, at_once, partial(_load, app))
        with stoppable(partial(_advice, report)), closing(ended):
            return report, _follow(app, report, ended)


def _load(app: AppFolder) -> None:
    """Import what a run needs, and what torch and torchmetrics put off until they are used."""
    import torch

    for part in (app.server_name, app.client_name):
        app.module(part.partition(":")[0])
    import_module("torchmetrics.functional.classification")
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep a second study out of the folder. Raises `UserError` where there is one."""
    from filelock import FileLock, Timeout

    lock = FileLock(out / ".lock", timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"Another study is at work in {out}: wait for it, or choose another --out."
        ) from None
    except OSError as error:
        raise UserError(
            f"Cannot write to {out} ({error.strerror}): choose another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _todo(app: AppFolder, configs: Configs) -> Configs:
    """Return the runs that are not done. Raises `UserError` where a folder holds another run."""
    from fedretune.study.folders import state_of

    differences_from = app.module("server.app").differences_from
    return {
        cell: config
        for cell, config in configs.items()
        if state_of(Path(config["out"]) / cell.name, config, differences_from) != "done"
    }


def _follow(
    app: AppFolder, report: "Report", ended: Iterable[tuple[Cell, str | None]]
) -> dict[str, str]:
    """Take in each run as it ends, and tell it; return why some failed, by name."""
    from fedretune.study.table import short

    failed = {}
    for cell, reason in ended:
        if reason is None:
            row = _take(app, report, cell)
            report.write()
            final = row["final_auroc"]
            text = "   -" if final is None else short(f"{final:.3f}")
            text += f"   {row['wall_seconds']:.1f} s"
        else:
            failed[cell.name] = reason
            text = f"[red]failed[/]: {escape(reason)}"
        where = f"{cell.scenario} {cell.unlabelled}"
        count = f"{len(report.rows) + len(failed)}/{len(report.order)}"
        say(rf"\[{count}] {where:<27}  {cell.method:<14}  seed {cell.seed}   {text}")
    return failed


def _take(app: AppFolder, report: "Report", cell: Cell) -> dict[str, Any]:
    """Read a finished run into the report; return its row."""
    from fedretune.study.folders import read_config, read_summary
    from fedretune.study.table import row_of

    folder = report.folder / "runs" / cell.name
    tables = read_config(folder)
    config = app.module("scenarios").RunConfig.from_flat(tables["config"])
    parameters = 0
    if config.how.trains:
        spec = config.spec(tables["data"]["dim"], len(tables["data"]["findings"]))
        parameters = sum(math.prod(shape) for shape, _ in spec.tensors().values())
    row = row_of(cell, read_summary(folder), parameters)
    report.add(row, tables)
    return row


def _changed(app: AppFolder, configs: Configs) -> dict[str, Any]:
    """Return the keys that are not at their default, less those that are told anyway."""
    from fedretune.study.checks import CELL_KEYS

    defaults = app.module("scenarios.config").DEFAULTS
    told = {*CELL_KEYS, "manifest", "backbone"}
    shared: dict[str, Any] = next(iter(configs.values()), {})
    return {
        key: value for key, value in shared.items() if key not in told and value != defaults[key]
    }


def _advice(report: "Report") -> str:
    done = f"{len(report.rows)} of {len(report.order)} runs are done"
    return f"{done}; {report.folder / 'table.md'} is of them. The same command goes on from there."


def _finish(report: "Report", failed: Mapping[str, str], as_json: bool) -> None:
    """Show the table, and where all of it is. Raises `RunFailedError` if there is less."""
    from fedretune.study.report import compact
    from fedretune.study.table import records

    statistics = report.statistics()
    for table in compact(statistics) if statistics else ():
        console.print(table)
    say("Mean ± standard deviation over seeds. Every column, and what each means:")
    say(f"  {escape(str(report.folder / 'table.md'))}")
    if as_json:
        rows = records(statistics) if statistics else []
        typer.echo(json.dumps({"folder": str(report.folder), "rows": rows}))
    if failed:
        name, reason = next(iter(failed.items()))
        raise RunFailedError(
            f"{len(failed)} of {len(report.order)} runs failed, and the same command tries them "
            f"again. The first, {name}: {reason}"
        )
