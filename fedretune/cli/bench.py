"""``fedretune bench``: the speed table."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedretune.cli.console import console


def command(
    rows: Annotated[
        list[str] | None, typer.Option("--row", metavar="NAME", help="Only this row; repeatable.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Less of everything: under two minutes on two cores.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the figures go, as JSON.")] = Path("bench.json"),
    backbone: Annotated[
        str, typer.Option(help="A name, or local-dir:/absolute/folder.")
    ] = "phantom-clip",
    app: Annotated[
        Path | None, typer.Option("--app", help="Folder of the app, if not here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures to stdout.")] = False,
) -> None:
    """Measure how fast things are, each beside what it is held against."""
    from fedretune.bench import FULL, QUICK, chosen
    from fedretune.bench.machine import machine
    from fedretune.bench.report import table, to_json, write
    from fedretune.bench.run import run_rows

    scale = QUICK if quick else FULL
    names = chosen(rows or [], scale)
    about, settings = machine(), {"scale": "quick" if quick else "full", **vars(scale)}
    settings["backbone"] = backbone
    content = to_json([], about, settings)
    write(out, content)  # before the first minute is spent
    results = []
    found = run_rows(names, scale, backbone, app)
    for name in names:
        with console.status(f"Measuring {name}"):
            results.append(next(found))
        content = to_json(results, about, settings)
        write(out, content)
    console.print(table(results))
    console.print(f"{about['cpu']}, {about['cores']} cores; every figure is in {out}.")
    if as_json:
        typer.echo(json.dumps(content))
