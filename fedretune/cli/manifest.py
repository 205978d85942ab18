"""``fedretune manifest``: make manifests from a data set's own files, and check any manifest."""

from pathlib import Path
from typing import Annotated

import click
import typer
from typer.core import TyperGroup

from fedretune.cli.summary import report
from fedretune.data.readers import TITLES
from fedretune.errors import UserError


class _Group(TyperGroup):
    """Makes a reader's command when it is run: a reader's file may import pandas."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name in TITLES:
            from fedretune.cli.reader_command import reader_command

            command = reader_command(name)
        return name, command, rest


app = typer.Typer(
    cls=_Group, no_args_is_help=True, help="Make and check manifests, the tables of images."
)
for _name, _title in TITLES.items():
    app.command(_name, help=_title)(lambda: None)


@app.command("check")
def check(
    manifest: Annotated[Path, typer.Argument(help="A manifest: .csv or .parquet.")],
    decode: Annotated[bool, typer.Option("--decode", help="Decode every image, too.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Write, to --out, the images that can be read.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="See --skip-bad.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts to stdout.")] = False,
) -> None:
    """Check a manifest and that its images are there; count what is in it."""
    from fedretune.cli.bad_images import no_bad, without_bad
    from fedretune.data.manifest import check_images, load_manifest

    if skip_bad != (out is not None):
        raise UserError("--skip-bad and --out go together: the one says what the other writes.")
    loaded = load_manifest(manifest)
    if out is not None:
        good, dropped = without_bad(loaded, out)
        report(good, dropped, {}, as_json)
        return
    check_images(loaded)
    if decode:
        no_bad(loaded)
    report(loaded, {}, {}, as_json)
