"""The command of a reader: an option for each file that it wants, and those that all have."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from fedretune.cli.bad_images import without_bad
from fedretune.cli.summary import report
from fedretune.data.readers import READERS, Option, Reader, Value, Wanted
from fedretune.errors import UserError

Out = Annotated[Path, typer.Option("--out", "-o", help="The manifest to write: .csv or .parquet.")]
Split = Annotated[
    str,
    typer.Option(
        metavar="TRAIN/VAL/TEST",
        help="Shares of the patients, for the splits that the data set leaves open.",
    ),
]
Sites = Annotated[
    int, typer.Option(min=0, help="Deal the patients to so many sites; 0: its own sites, or none.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same splits and sites.")]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out labelled images that are not there.")
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Decode every image, and leave out those that cannot be read."),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Let links lead out of the images' folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the counts to stdout as JSON.")]


def reader_command(name: str) -> click.Command:
    """Return the command ``fedretune manifest NAME``. Imports the reader's file."""
    reader: Reader = READERS[name]

    def command(
        *,
        out: Out,
        split: Split = "70/10/20",
        sites: Sites = 0,
        seed: Seed = 0,
        skip_missing: SkipMissing = False,
        skip_bad: SkipBad = False,
        follow_links: FollowLinks = False,
        as_json: AsJson = False,
        **given: Any,
    ) -> None:
        from fedretune.data.readers.assemble import Plan, make_manifest

        plan = Plan(
            **_named(reader, given),
            out=out,
            shares=shares(split),
            sites=sites,
            seed=seed,
            skip_missing=skip_missing,
            follow_links=follow_links,
        )
        made = make_manifest(name, plan)
        manifest, dropped = made.manifest, made.dropped
        if skip_bad:
            manifest, bad = without_bad(manifest, out)
            dropped = {**dropped, **bad}
        report(manifest, dropped, made.unmapped, as_json)

    command.__doc__ = f"{reader.title}\n\nExample: fedretune manifest {name} {reader.example}"
    entries: list[Wanted | Option] = [*reader.files, reader.images, *reader.options]
    own = [_parameter(entry) for entry in entries]
    common = list(inspect.signature(command).parameters.values())[:-1]  # without `given`
    command.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command(name)(command)
    return typer.main.get_command(app)


def shares(text: str) -> tuple[float, float, float]:
    """Return the three numbers of ``70/10/20``. Raises `UserError`."""
    try:
        train, val, test = (float(part) for part in text.split("/"))
    except ValueError:
        train, val, test = -1.0, -1.0, -1.0
    if not (train > 0 and val >= 0 and test >= 0 and train + val + test < float("inf")):
        raise UserError(f"--split is '{text}'; give three shares, such as 70/10/20.")
    return train, val, test


def _named(reader: Reader, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a `Plan` that hangs on the reader."""
    files = {wanted.key: given[_identifier(wanted)] for wanted in reader.files}
    return {
        "images": given[_identifier(reader.images)],
        "files": {key: path for key, path in files.items() if path is not None},
        "options": {option.key: _value(given[_identifier(option)]) for option in reader.options},
    }


def _parameter(entry: Wanted | Option) -> inspect.Parameter:
    """Return what Typer makes an option, or an argument, of."""
    kind: Any = Path
    default: Any = inspect.Parameter.empty
    metavar = None
    if isinstance(entry, Option):
        repeats = isinstance(entry.default, tuple)
        kind = list[str] if repeats else type(entry.default)
        default = list(entry.default) if isinstance(entry.default, tuple) else entry.default
        metavar = "|".join(entry.allowed) or None
    elif not entry.required:
        kind, default = Path | None, None
    info = (
        typer.Option(entry.option, help=entry.help, metavar=metavar)
        if entry.option.startswith("-")
        else typer.Argument(help=entry.help, metavar=entry.option)
    )
    return inspect.Parameter(
        _identifier(entry),
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, info],
    )


def _identifier(entry: Wanted | Option) -> str:
    return entry.key.replace("-", "_")


def _value(given: Any) -> Value:
    return tuple(given) if isinstance(given, list) else given
