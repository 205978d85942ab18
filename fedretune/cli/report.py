"""``fedretune report``: run folders as one HTML file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli.app_folder import find_app
from fedretune.cli.console import console, say
from fedretune.cli.options import AppPath
from fedretune.errors import UserError
from fedretune.report import FILE, write_report


def command(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, finished or not.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", help=f"The file; default: {FILE} in the run's folder."),
    ] = None,
    app: AppPath = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the file's name to stdout.")
    ] = False,
) -> None:
    """Make one HTML file of a run, or of several side by side; it opens without a network.

    Runs that differ in the seed alone become one line, mean and standard deviation.
    """
    paths = [path.expanduser() for path in runs]
    target = (out or _place(paths)).expanduser().absolute()
    if target.is_dir():
        raise UserError(f"{target} is a folder: name a file with -o, such as {target / FILE}.")
    with console.status("Reading the runs"):
        written = write_report(paths, target, defaults(app))
    say(f"Report: {escape(str(written))}", console)
    if as_json:
        typer.echo(json.dumps({"report": str(written)}))


def _place(paths: list[Path]) -> Path:
    """Return where a report goes that nothing is said of: beside the run, or here."""
    return paths[0] / FILE if len({path.resolve() for path in paths}) == 1 else Path(FILE)


def defaults(app: Path | None) -> Mapping[str, Any] | None:
    """Return the defaults of the keys; None where the app is not at hand and none was named."""
    try:
        found: Mapping[str, Any] = find_app(app).module("scenarios.config").DEFAULTS
    except UserError:
        if app is not None:
            raise
        return None
    return found
