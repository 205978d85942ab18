"""``fedretune study privacy``: what attacks find out against each defence, and what it costs."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli import options, privacy_membership, runs
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.console import console, say
from fedretune.cli.privacy_canary import audited
from fedretune.cli.privacy_world import world_of
from fedretune.cli.stopping import stoppable
from fedretune.cli.study_runs import report_failures, resolved, run_all
from fedretune.errors import UserError
from fedretune.study import privacy as plan
from fedretune.study.plan import names_in, seeds_in
from fedretune.study.privacy import PrivacyCell

if TYPE_CHECKING:
    from fedretune.adaptors import Spec
    from fedretune.study.privacy_report import PrivacyReport

#: Keys of the config that the cells decide.
CELL_KEYS = ("recipe", "record-wire", "seed", "name", "out", "resume")
#: What attacks found out about a run, in its folder: attacks take longer than the run.
FOUND = "attacks.json"
#: What the updates of one site gave away, likewise, in the folder of the first run.
RECOVERED = "recovery.json"
CANARIES, QUICK_CANARIES = 300, 60
SHADOWS, QUICK_SHADOWS = 64, 4


def command(
    defences: Annotated[
        str | None,
        typer.Option(help=f"Names with commas; default: {', '.join(plan.DEFENCES)}."),
    ] = None,
    shadows: Annotated[
        int | None, typer.Option(min=4, help=f"Adaptors that attacks train; default {SHADOWS}.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Numbers with commas.")] = "1",
    manifest: options.ManifestPath = None,
    backbone: options.BackboneName = None,
    sites: options.Sites = None,
    experiences: options.Experiences = None,
    rounds: options.Rounds = None,
    settings: options.Setting = None,
    out: Annotated[Path, typer.Option(help="The study's folder.")] = Path("runs/study-privacy"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Two defences, few shadows, shorter runs.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Runs at once; 0: one a core.")] = 0,
    app: options.AppPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the tables to stdout.")] = False,
) -> None:
    """Attack runs with each defence; see what is found out, what is spent and what is learnt.

    Writes table.csv, recovery.csv, table.md and a folder for each run, without its messages.
    Stopped or killed, the same command goes on where it was.
    """
    from fedretune.study.privacy_report import PrivacyReport

    given = runs.given_keys(
        settings,
        manifest=manifest,
        backbone=backbone,
        sites=sites,
        experiences=experiences,
        rounds=rounds,
    )
    folder, out = find_app(app), out.expanduser().absolute()
    names = plan.QUICK_DEFENCES if quick else tuple(plan.DEFENCES)
    chosen = names if defences is None else names_in(defences, "--defences")
    cells = plan.make_plan(chosen, seeds_in(seeds))
    base = {**(plan.QUICK if quick else {}), **given}
    with stoppable(lambda: "What is drawn and encoded is kept: the same command goes on."):
        configs = resolved(folder, cells, base, out / "runs", CELL_KEYS)
    report = PrivacyReport(out, [cell.name for cell in configs])
    how = (shadows or (QUICK_SHADOWS if quick else SHADOWS), QUICK_CANARIES if quick else CANARIES)
    failed = run_all(folder, configs, report, jobs, partial(_take, folder, report, how))
    if report.rows:
        first = next(name for name in report.order if name in report.rows)
        report.recovery = _recovered(folder, out / "runs" / first, quick)
        report.write()
        for line in report.lines():
            console.print(line, markup=False, soft_wrap=True)
    say(f"The tables: {escape(str(out))}")
    if as_json:
        rows = report.frame().to_dict("records") if report.rows else []
        typer.echo(json.dumps({"folder": str(out), "rows": rows, "recovery": report.recovery}))
    report_failures(failed, len(report.order))


def _take(app: AppFolder, report: "PrivacyReport", how: tuple[int, int], cell: PrivacyCell) -> str:
    """Attack a finished run, unless that is done; return what is told of it."""
    run = report.folder / "runs" / cell.name
    kept = run / FOUND
    if not kept.is_file() or json.loads(kept.read_text())["how"] != list(how):
        found = {"how": how, "rows": list(_attacked(app, run, cell, *how))}
        kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
        shutil.rmtree(run / "wire", ignore_errors=True)  # gigabytes, and told of
    report.rows[cell.name] = json.loads(kept.read_text())
    rows = report.rows[cell.name]["rows"]
    most = max(rows, key=lambda row: row["auc"])
    return f"{rows[0]['final_auroc']:.3f}   AUC at most {most['auc']:.3f} ({most['attack']})"


def _attacked(
    app: AppFolder, run: Path, cell: PrivacyCell, shadows: int, canaries: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each attack on a run."""
    from fedretune.study.folders import read_summary

    world, summary = world_of(app, run), read_summary(run)
    audit, _ = audited(app, world, canaries, cell.seed)
    told = {
        "epsilon": summary.get("epsilon"),
        "bound": audit.bound,
        "final_auroc": summary["final_auroc"],
        "wall_seconds": summary["wall_seconds"],
    }
    for attack in _attacks_on(world.adaptor):
        begun = time.monotonic()
        groups = privacy_membership.separations(attack, run, world, shadows, cell.seed)
        records = [privacy_membership.record(*group) for group in groups]
        control = next((r for r in records if r["site"] in privacy_membership.CONTROLS), None)
        seconds = {"attack_seconds": round(time.monotonic() - begun, 1)}
        yield plan.row_of(cell, attack, records[0], control, {**told, **seconds})


def _attacks_on(spec: "Spec") -> tuple[str, ...]:
    """Return the attacks, without those that an adaptor has no layer for."""
    from fedretune.privacy.attacks.inversion import prefix_of

    try:
        prefix_of(spec)
    except UserError:
        return tuple(each for each in plan.ATTACKS if each != "span")
    return plan.ATTACKS


def _recovered(app: AppFolder, run: Path, quick: bool) -> list[Mapping[str, Any]]:
    """Return what updates of one site give away, by how it trains; asked of a run once."""
    from fedretune.study.recovery import BATCHES

    batches = BATCHES[:2] if quick else BATCHES
    kept = run / RECOVERED
    if not kept.is_file() or json.loads(kept.read_text())["batches"] != list(batches):
        found = {"batches": batches, "rows": list(_recoveries(app, run, batches))}
        kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
    rows: list[Mapping[str, Any]] = json.loads(kept.read_text())["rows"]
    return rows


def _recoveries(app: AppFolder, run: Path, batches: Sequence[int]) -> Iterator[Mapping[str, Any]]:
    import torch

    from fedretune.privacy.attacks.target import Examples
    from fedretune.study.recovery import BATCHES, recover, ways

    world = world_of(app, run)
    rows = torch.arange(min(2 * max(BATCHES), len(world.labels))).numpy()
    images, labels = world.embeddings.take(rows), world.labels[rows]
    examples = Examples(torch.from_numpy(images), torch.from_numpy(labels))
    for way in ways(batches):
        if 2 * way.batch <= len(examples):
            yield vars(recover(examples, world.prompts, way, 1))
