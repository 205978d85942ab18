"""``fedretune doctor``: is this machine fit, and what is left over on it?"""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from fedretune.cli.console import say

MARKS = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "fail": "[bold red]FAIL[/]"}


def command(
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Also start Ray: 10 s more.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers to stdout.")] = False,
) -> None:
    """Look at this machine: versions, devices, disk, caches, Flower, ports, what is left over.

    Changes nothing. The exit code is 2 where something will not work.
    """
    from fedretune.cli.health import examine

    answers = []
    for each in examine(thorough):
        answers.append(each)
        say(f"{MARKS[each.state]} {each.name}: {escape(each.detail)}")
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in answers]))
    if failed := sum(each.state == "fail" for each in answers):
        say(f"[bold red]{failed}[/] to mend; nothing was changed.")
        raise typer.Exit(2)
