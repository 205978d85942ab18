"""``fedretune study attacks``: what attackers do to each strategy, in one table."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedretune.cli import options, runs
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.stopping import stoppable
from fedretune.cli.study_runs import report_failures, resolved, run_all, shared_keys, tell
from fedretune.study import attacks as plan
from fedretune.study.attacks import AttackCell
from fedretune.study.plan import names_in, seeds_in

if TYPE_CHECKING:
    from fedretune.study.attack_report import AttackReport

#: Keys of the config that the cells decide.
CELL_KEYS = ("attack", "attackers", "attack-strength", "strategy", "seed", "name", "out", "resume")

Configs = Mapping[AttackCell, dict[str, Any]]


def command(
    attacks: Annotated[str | None, typer.Option(help="Names with commas; default: all.")] = None,
    strategies: Annotated[
        str | None, typer.Option(help=f"Names with commas; default: {', '.join(plan.EXPECTED)}.")
    ] = None,
    attackers: Annotated[
        str | None, typer.Option(help="How many, numbers with commas; default: 0,1,2,3,4.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Numbers with commas.")] = "1",
    manifest: options.ManifestPath = None,
    backbone: options.BackboneName = None,
    sites: options.Sites = None,
    experiences: options.Experiences = None,
    rounds: options.Rounds = None,
    settings: options.Setting = None,
    out: Annotated[Path, typer.Option(help="The study's folder.")] = Path("runs/study-attacks"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Two strategies, 0 and 2 attackers, shorter runs.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Runs at once; 0: one a core.")] = 0,
    app: options.AppPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table to stdout.")] = False,
) -> None:
    """Run every attack against every strategy, and see what is caught and what is lost.

    Writes table.csv, table.md and a folder for each run.
    Stopped or killed, the same command goes on where it was.
    """
    from fedretune.study.attack_report import AttackReport

    given = runs.given_keys(
        settings,
        manifest=manifest,
        backbone=backbone,
        sites=sites,
        experiences=experiences,
        rounds=rounds,
    )
    folder, out = find_app(app), out.expanduser().absolute()
    strategic = plan.QUICK_STRATEGIES if quick else tuple(plan.EXPECTED)
    counts = plan.QUICK_ATTACKERS if quick else plan.ATTACKERS
    cells = plan.make_plan(
        _attacks(folder, attacks),
        strategic if strategies is None else names_in(strategies, "--strategies"),
        counts if attackers is None else plan.attackers_in(attackers),
        seeds_in(seeds),
    )
    base = {**(plan.QUICK if quick else plan.SMALL), **given}
    with stoppable(lambda: "What is drawn and encoded is kept: the same command goes on."):
        configs, sites_there = _prepare(folder, cells, base, out / "runs")
    own = {*CELL_KEYS, *(key for keys in plan.EXPECTED.values() for key in keys)}
    shared = shared_keys(folder, configs, own)
    report = AttackReport(out, [cell.name for cell in configs], shared)
    failed = run_all(folder, configs, report, jobs, partial(_take, folder, report, sites_there))
    finish(report, failed, as_json)


def _attacks(app: AppFolder, names: str | None) -> tuple[str, ...]:
    """Return the attacks of that name, or all. Raises `UserError` for one that is not known."""
    zoo = app.module("clients.attacks")
    chosen = tuple(zoo.ATTACKS) if names is None else names_in(names, "--attacks")
    for name in chosen:
        zoo.attack_of(name)
    return chosen


def _prepare(
    app: AppFolder, cells: Sequence[AttackCell], base: dict[str, Any], out: Path
) -> tuple[Configs, tuple[str, ...]]:
    """Make the data; return every cell's resolved config, and the sites' names in their order."""
    configs = resolved(app, cells, base, out, CELL_KEYS)
    config_of = app.module("scenarios").RunConfig.from_flat
    honest = {**next(iter(configs.values())), "attack": "", "attackers": 0}
    world = app.module("clients.world").make_world(config_of(honest), 0)
    return configs, tuple(world.scenario.sites)


def _take(app: AppFolder, report: "AttackReport", sites: tuple[str, ...], cell: AttackCell) -> str:
    """Read a finished run into the report; return what is told of it."""
    import pandas as pd

    from fedretune.study.folders import read_summary

    zoo = app.module("clients.attacks")
    folder = report.folder / "runs" / cell.name
    positions = zoo.attackers_among(len(sites), cell.attackers, cell.seed)
    row = plan.row_of(
        cell,
        zoo.ATTACKS[cell.attack].kind if cell.attackers else "",
        read_summary(folder),
        pd.read_csv(folder / "sites.csv", dtype={"site": str}, keep_default_na=False),
        [sites[position] for position in positions],
    )
    report.add(row)
    caught = "" if row["caught"] is None else f"caught {row['caught']:.0%}"
    return f"{row['final_auroc']:.3f}   {caught}   {row['wall_seconds']:.1f} s"


def finish(report: "AttackReport", failed: Mapping[str, str], as_json: bool) -> None:
    """Show what holds, and where all of it is.

    That attackers bring a run to a stop, which says so itself, is a result. Raises
    `RunFailedError` if runs failed otherwise.
    """
    from fedretune.study.attack_report import holding
    from fedretune.study.folders import read_summary
    from fedretune.study.tables import markdown

    for name, why in failed.items():
        if read_summary(report.folder / "runs" / name).get("status") == "failed":
            report.stopped[name] = why
    report.write()
    lines = markdown(holding(report.frame())) if report.rows else ()
    tell(
        report,
        lines,
        "AUROC lost in the worst attack. All of them, and what each column means:",
        as_json,
    )
    broken = {name: why for name, why in failed.items() if name not in report.stopped}
    report_failures(broken, len(report.order))
