"""``fedretune phantoms``: write phantom chest radiographs, or a sheet to look at."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedretune.cli.console import say
from fedretune.errors import UserError


def command(
    out: Annotated[
        Path | None, typer.Argument(help="Folder to fill with images and manifest.csv.")
    ] = None,
    patients: Annotated[
        int, typer.Option(help="Number of patients (about 2.4 images each).")
    ] = 500,
    sites: Annotated[int, typer.Option(help="Number of hospitals.")] = 4,
    seed: Annotated[int, typer.Option(help="Any integer; the same one gives the same pixels.")] = 0,
    size: Annotated[int, typer.Option(help="Width and height of an image in pixels.")] = 128,
    sheet: Annotated[
        Path | None, typer.Option(help="Draw each finding beside a normal chest into this PNG.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files to stdout.")] = False,
) -> None:
    """Write phantom chest radiographs with NIH's 14 findings, or a labelled sheet of them."""
    if out is None and sheet is None:
        raise UserError("Nothing to do: name a folder to fill, or a PNG with --sheet.")
    from rich.markup import escape

    made: dict[str, str | None] = {"sheet": None, "manifest": None}
    if sheet is not None:
        from fedretune.data.phantoms.sheet import sheet as draw_sheet

        made["sheet"] = str(draw_sheet(sheet, seed))
    if out is not None:
        made["manifest"] = str(_write(out, patients, sites, seed, size))
    for what, path in made.items():
        if path is not None:
            say(f"{what.capitalize()}: {escape(path)}")
    if as_json:
        typer.echo(json.dumps(made))


def _write(out: Path, patients: int, sites: int, seed: int, size: int) -> Path:
    from rich.console import Console
    from rich.progress import Progress

    from fedretune.data.phantoms import write

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Rendering phantoms", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return write(out, patients, sites, seed, size, progress)
