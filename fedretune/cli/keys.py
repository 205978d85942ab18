"""``fedretune keys``: what can be set with ``--set``."""

import json
from typing import Annotated

import typer

from fedretune.cli import options
from fedretune.cli.app_folder import find_app
from fedretune.cli.console import console
from fedretune.errors import UserError


def command(
    words: Annotated[str, typer.Argument(help="Only keys whose name or meaning holds this.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print them to stdout.")] = False,
    app: options.AppPath = None,
) -> None:
    """List every key that `--set KEY=VALUE` takes, with its default and its meaning.

    Example: fedretune keys adaptor
    """
    from rich.markup import escape
    from rich.table import Table

    found = find_app(app).module("scenarios.keys").keys(words)
    if not found:
        raise UserError(f"No key's name or meaning holds '{words}': `fedretune keys` lists all.")
    if as_json:
        print(json.dumps([each._asdict() for each in found]))
        return
    table = Table("key", "default", "meaning", show_edge=False)
    for name, default, meaning in found:
        table.add_row(name, escape(json.dumps(default)), escape(meaning))
    console.print(table)
