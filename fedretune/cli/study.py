"""``fedretune study``: a whole table over methods, scenarios and seeds, from one command."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli import options, runs
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.console import console, say
from fedretune.cli.stopping import stoppable
from fedretune.cli.study_runs import report_failures, run_all
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

app = typer.Typer(no_args_is_help=True, help="Compare methods, or attacks: many runs, one table.")


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
    manifest: options.ManifestPath = None,
    backbone: options.BackboneName = None,
    sites: options.Sites = None,
    experiences: options.Experiences = None,
    rounds: options.Rounds = None,
    recipe: options.Recipe = None,
    settings: options.Setting = None,
    out: Annotated[Path, typer.Option(help="The study's folder.")] = Path("runs/study-retune"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Two seeds, and as little of everything as will do.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Runs at once; 0: one a core.")] = 0,
    app: options.AppPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table to stdout.")] = False,
) -> None:
    """Run RE-tune, its remedies and what they are compared with, over scenarios and seeds.

    Writes table.csv, table.md and a folder for each run.
    Stopped or killed, the same command goes on where it was.
    """
    from fedretune.study.checks import Choice

    base = runs.given_keys(
        settings,
        manifest=manifest,
        backbone=backbone,
        sites=sites,
        recipe=recipe,
        experiences=experiences,
        rounds=rounds,
    )
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

    report = Report(out, [cell.name for cell in configs], _changed(app, configs))
    return report, run_all(app, configs, report, jobs, partial(_take, app, report))


def _take(app: AppFolder, report: "Report", cell: Cell) -> str:
    """Read a finished run into the report; return what is told of it."""
    from fedretune.study.folders import read_config, read_summary, trained_parameters
    from fedretune.study.table import row_of, short

    folder = report.folder / "runs" / cell.name
    tables = read_config(folder)
    config = app.module("scenarios").RunConfig.from_flat(tables["config"])
    parameters = trained_parameters(config, tables["data"]) if config.how.trains else 0
    row = row_of(cell, read_summary(folder), parameters)
    report.add(row, tables)
    final = row["final_auroc"]
    text = "   -" if final is None else short(f"{final:.3f}")
    return f"{text}   {row['wall_seconds']:.1f} s"


def _changed(app: AppFolder, configs: Configs) -> dict[str, Any]:
    """Return the keys that are not at their default, less those that are told anyway."""
    from fedretune.study.checks import CELL_KEYS

    defaults = app.module("scenarios.config").DEFAULTS
    told = {*CELL_KEYS, "manifest", "backbone"}
    shared: dict[str, Any] = next(iter(configs.values()), {})
    return {
        key: value for key, value in shared.items() if key not in told and value != defaults[key]
    }


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
    report_failures(failed, len(report.order))
