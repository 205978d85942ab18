"""The runs of a study, of whatever kind: what is not done, on all cores, told as it ends."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import typer
from rich.markup import escape

from fedretune.cli import runs
from fedretune.cli.app_folder import AppFolder
from fedretune.cli.console import console, say
from fedretune.cli.stopping import stoppable
from fedretune.errors import RunFailedError, UserError


class NamedRun(Protocol):
    """One run of a study: the name of its folder, and what is told of it."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...


class SettledRun(NamedRun, Protocol):
    """One run, and the keys of the config that make it that."""

    def settings(self) -> dict[str, Any]: ...


class Tables(Protocol):
    """What a study makes of its runs, in its folder."""

    folder: Path
    order: Sequence[str]
    rows: dict[str, Mapping[str, Any]]

    def write(self) -> None: ...


Cell = TypeVar("Cell", bound=NamedRun)
Settled = TypeVar("Settled", bound=SettledRun)
Configs = Mapping[Cell, dict[str, Any]]


@dataclass(frozen=True)
class Doing:
    """How a study's cells are run.

    Parameters
    ----------
    engine : callable (config)
        Runs a cell to its end; picklable, and raises `UserError`.
    warm_up : callable ()
        Imports what a cell needs; picklable.
    differences_from : callable (folder, config) -> str
        See `fedretune.study.folders.state_of`.
    """

    engine: Callable[[dict[str, Any]], None]
    warm_up: Callable[[], object]
    differences_from: Callable[[Path, Mapping[str, Any]], str]


def resolved(
    app: AppFolder,
    cells: Sequence[Settled],
    base: Mapping[str, Any],
    out: Path,
    own: Collection[str],
) -> dict[Settled, dict[str, Any]]:
    """Make the data that all cells share; return every cell's resolved config.

    Parameters
    ----------
    app : AppFolder
    cells : sequence of SettledRun
    base : mapping
        The keys that were given.
    out : Path
        Of the run folders.
    own : collection of str
        The keys that the study sets itself.

    Raises
    ------
    UserError
        One of these was given; or whatever is wrong with the data or the config.
    """
    for key in own:
        if key in base:
            raise UserError(f"A study sets '{key}' itself: use its options, not --set {key}.")
    config_of = app.module("scenarios").RunConfig.from_flat
    flat = config_of({**base, "out": str(out)}).to_flat()
    if flat["manifest"] != "phantoms":
        flat["manifest"] = str(Path(flat["manifest"]).expanduser().absolute())
    # Runs are side by side already.
    shared = {"manifest": flat["manifest"], "out": str(out), "workers": 1}
    shared["sites"] = runs.make_data(app, flat)
    return {
        cell: config_of({**base, **shared, **cell.settings(), "name": cell.name}).to_flat()
        for cell in cells
    }


def shared_keys(app: AppFolder, configs: Configs[Cell], own: Collection[str]) -> dict[str, Any]:
    """Return what all cells share that is not at its default, without the study's `own` keys."""
    defaults = app.module("scenarios.config").DEFAULTS
    return {
        key: value
        for key, value in next(iter(configs.values())).items()
        if key not in own
        and value != defaults[key]
        and all(config[key] == value for config in configs.values())
    }


def tell(report: Tables, lines: Iterable[str], what: str, as_json: bool) -> None:
    """Show lines of a table, say where all of it is, and print the rows if that is wanted."""
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    say(what)
    say(f"  {escape(str(report.folder / 'table.md'))}")
    if as_json:
        rows = [report.rows[name] for name in report.order if name in report.rows]
        typer.echo(json.dumps({"folder": str(report.folder), "rows": rows}))


def run_all(
    app: AppFolder,
    configs: Configs[Cell],
    report: Tables,
    jobs: int,
    take: Callable[[Cell], str],
) -> dict[str, str]:
    """Run the simulations of a study that are not done; see `run_cells_of`."""
    doing = Doing(
        partial(runs.execute, runs.SIMULATE, app),
        app.load,
        app.module("server.app").differences_from,
    )
    return run_cells_of(doing, configs, report, jobs, take)


def run_cells_of(
    doing: Doing,
    configs: Configs[Cell],
    report: Tables,
    jobs: int,
    take: Callable[[Cell], str],
) -> dict[str, str]:
    """Run what is not done, and write the tables after each run.

    Parameters
    ----------
    doing : Doing
    configs : mapping of a cell to its resolved config
    report : Tables
    jobs : int
        How many at once; 0: one a core.
    take : callable (cell) -> str
        Reads a finished run into the report; returns what is told of it.

    Returns
    -------
    Why some runs failed, by name.

    Raises
    ------
    UserError
        A folder holds another run, or another study is at work in it.
    """
    from fedretune.study.runner import run_cells
    from fedretune.workers import cores

    with _alone(report.folder):
        todo = _todo(doing, configs)
        for cell in configs:
            if cell not in todo:
                take(cell)
        say(f"[bold]{len(configs)} runs[/], of which {len(report.rows)} are done.")
        report.write()
        if not todo:
            return {}
        ended = run_cells(todo, doing.engine, min(jobs or cores(), len(todo)), doing.warm_up)
        with stoppable(partial(_advice, report)), closing(ended):
            return _follow(report, ended, take)


def report_failures(failed: Mapping[str, str], of: int) -> None:
    """Raise `RunFailedError` if runs failed, with the first reason."""
    if failed:
        name, reason = next(iter(failed.items()))
        raise RunFailedError(
            f"{len(failed)} of {of} runs failed, and the same command tries them "
            f"again. The first, {name}: {reason}"
        )


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


def _todo(doing: Doing, configs: Configs[Cell]) -> Configs[Cell]:
    """Return the runs that are not done. Raises `UserError` where a folder holds another run."""
    from fedretune.study.folders import state_of

    return {
        cell: config
        for cell, config in configs.items()
        if state_of(Path(config["out"]) / cell.name, config, doing.differences_from) != "done"
    }


def _follow(
    report: Tables, ended: Iterator[tuple[Cell, str | None]], take: Callable[[Cell], str]
) -> dict[str, str]:
    """Take in each run as it ends, and tell it; return why some failed, by name."""
    failed = {}
    for cell, reason in ended:
        if reason is None:
            text = take(cell)
            report.write()
        else:
            failed[cell.name] = reason
            text = f"[red]failed[/]: {escape(reason)}"
        count = f"{len(report.rows) + len(failed)}/{len(report.order)}"
        say(rf"\[{count}] {cell.label}   {text}")
    return failed


def _advice(report: Tables) -> str:
    done = f"{len(report.rows)} of {len(report.order)} runs are done"
    return f"{done}; {report.folder / 'table.md'} is of them. The same command goes on from there."
