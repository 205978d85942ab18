"""``fedretune status``: how a run is going, or how it ended."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli.console import console, say
from fedretune.cli.ending import IN_WORDS
from fedretune.errors import RunFailedError

if TYPE_CHECKING:
    from fedretune.report.run import Run

#: Shown of each site: the last thing that it did.
WORDS = {**IN_WORDS, "trained": "trained", "joined": "is in", "noised": "counts have noise"}
#: What Flower's error codes are in words, with the mend.
FLOWER = {
    "1": "the node could not load the app: its own log says why",
    "2": "the site's process raised an error, such as another app bundle than the pinned one: its "
    "own log says why",
    "3": "the message was no longer at the SuperLink when the node asked for it",
    "4": "the reply was no longer at the SuperLink",
    "5": "the node is gone",
    "7": "the node takes signed bundles alone (--trusted-entities), and this is none",
    "8": "the node's process ended in the midst of it",
}


def command(
    run: Annotated[Path, typer.Argument(help="A run folder, of a run that goes on or is over.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it to stdout.")] = False,
) -> None:
    """Tell where a run is: experience, round, which sites are in, bytes, refusals, last AUROC.

    The exit code is 1 if the run has failed, or was killed; 0 if it goes on or is complete.
    """
    from fedretune.report.run import read_run

    told = status_of(read_run(run.expanduser()))
    if as_json:
        typer.echo(json.dumps(told))
    else:
        _show(told)
    if told["status"] in ("failed", "killed"):
        raise RunFailedError(told["reason"])


def status_of(run: "Run") -> dict[str, Any]:
    """Return what is to be told of a run."""
    rounds, evaluations = run.of("round"), run.of("evaluation")
    last = rounds[-1] if rounds else {}
    config = run.config
    return {
        "run": str(run.path),
        **_state(run),
        "experience": last.get("experience"),
        "experiences": config["experiences"],
        "round": last.get("round"),
        "rounds": config["rounds"],
        "sites_in": last.get("sites"),
        "sites_asked": last.get("asked"),
        "auroc": evaluations[-1].get("macro") if evaluations else None,
        "bytes": {way: _bytes(run, way) for way in ("up", "down")},
        "sites": _sites(run),
    }


def _state(run: "Run") -> dict[str, str]:
    if run.status == "complete":
        return {"status": "complete", "reason": ""}
    if _at_work(run.path):
        return {"status": "running", "reason": ""}
    if run.status == "failed":
        return {"status": "failed", "reason": str(run.summary.get("reason", ""))}
    return {
        "status": "killed",
        "reason": f"The run {run.path} was stopped or killed, and no process is at work on it: go "
        f"on with --resume --name {run.name}.",
    }


def _at_work(folder: Path) -> bool:
    """Tell whether a process holds the run's lock."""
    from filelock import FileLock, Timeout

    path = folder / ".lock"
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def _bytes(run: "Run", way: str) -> int:
    return int(run.traffic.loc[run.traffic["direction"] == way, "bytes"].sum())


def _sites(run: "Run") -> dict[str, dict[str, Any]]:
    """Return of each site the last thing that it did, and how often it was left out."""
    sites: dict[str, dict[str, Any]] = {}
    for row in run.sites.to_dict("records"):
        site = sites.setdefault(str(row["site"]), {"left_out": 0})
        status, reason = str(row["status"]), in_words(str(row["reason"]))
        site.update(status=status, reason=reason)
        site["left_out"] += status in ("quarantined", "silent", "refused", "failed")
    return sites


def in_words(reason: str) -> str:
    """Return a reason with Flower's error code told in words."""
    code = reason.removeprefix("Flower error ")
    return f"{reason}: {FLOWER[code]}" if code != reason and code in FLOWER else reason


def _show(told: Mapping[str, Any]) -> None:
    from rich.table import Table

    say(f"[bold]{escape(told['run'])}[/]: [bold]{told['status']}[/]")
    if told["round"] is not None:
        say(
            f"experience {told['experience'] + 1} of {told['experiences']}, round "
            f"{told['round'] + 1} of {told['rounds']}: {told['sites_in']} of "
            f"{told['sites_asked']} sites' replies are in"
        )
    if told["auroc"] is not None:
        say(f"last pooled AUROC {told['auroc']:.3f}")
    up, down = (told["bytes"][way] / 1e6 for way in ("up", "down"))
    say(f"{up:.1f} MB up, {down:.1f} MB down")
    table = Table("site", "last", "left out", "reason")
    for name, site in sorted(told["sites"].items()):
        last = WORDS.get(site["status"], site["status"])
        table.add_row(escape(name), last, str(site["left_out"]), escape(site["reason"]))
    console.print(table)
