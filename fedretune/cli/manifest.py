"""``fedretune manifest``: make manifests from a data set's own files, and check any manifest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedretune.cli.console import console
from fedretune.data.readers import READERS
from fedretune.errors import UserError

if TYPE_CHECKING:
    from fedretune.data.manifest import Manifest

app = typer.Typer(no_args_is_help=True, help="Make and check manifests, the tables of images.")

Labels = Annotated[Path, typer.Option(help="The data set's own table of labels.")]
Images = Annotated[Path, typer.Option(help="The folder that holds its images, at any depth.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The manifest to write: .csv or .parquet.")]
Split = Annotated[
    str, typer.Option(metavar="TRAIN/VAL/TEST", help="Shares of the patients, such as 70/10/20.")
]
Sites = Annotated[
    int, typer.Option(min=0, help="Deal the patients to so many sites; 0: no column 'site'.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same splits and sites.")]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out labelled images that are not there.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the counts to stdout as JSON.")]


def _reader_command(reader: str) -> Callable[..., None]:
    def command(
        labels: Labels,
        images: Images,
        out: Out,
        split: Split = "70/10/20",
        sites: Sites = 0,
        seed: Seed = 0,
        skip_missing: SkipMissing = False,
        as_json: AsJson = False,
    ) -> None:
        from fedretune.data.readers.assemble import Plan, make_manifest

        plan = Plan(labels, images, out, _shares(split), sites, seed, skip_missing)
        manifest, dropped = make_manifest(reader, plan)
        _report(manifest, dropped, as_json)

    return command


for _reader in READERS:
    app.command(_reader, help=f"Make a manifest of {_reader} from its own table and images.")(
        _reader_command(_reader)
    )


@app.command("check")
def check(
    manifest: Annotated[Path, typer.Argument(help="A manifest: .csv or .parquet.")],
    as_json: AsJson = False,
) -> None:
    """Check a manifest and that its images are there; count what is in it."""
    from fedretune.data.manifest import check_images, load_manifest

    loaded = load_manifest(manifest)
    check_images(loaded)
    _report(loaded, {}, as_json)


def _shares(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split("/"))
    except ValueError:
        train, val, test = -1.0, -1.0, -1.0
    if not (train > 0 and val >= 0 and test >= 0 and train + val + test < float("inf")):
        raise UserError(f"--split is '{text}'; give three shares, such as 70/10/20.")
    return train, val, test


def _report(manifest: "Manifest", dropped: dict[str, int], as_json: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from fedretune.data.summary import summarise

    summary = summarise(manifest)
    table = Table(title=escape(str(manifest.path)), title_justify="left")
    for name in ("finding", "positive", "uncertain", "labelled", "prevalence"):
        table.add_column(name, justify="left" if name == "finding" else "right")
    for count in summary.findings:
        share = f"{count.prevalence:.1%}" if count.labelled else "-"
        numbers = (count.positive, count.uncertain, count.labelled)
        table.add_row(escape(count.finding), *(f"{number:,}" for number in numbers), share)
    console.print(table)
    console.print(
        f"{summary.images:,} images of {summary.patients:,} patients; {_line(summary.splits)}"
    )
    if summary.sites:
        console.print(f"{len(summary.sites)} sites: {escape(_line(summary.sites))}")
    for reason, number in dropped.items():
        console.print(f"[yellow]Dropped[/] {number:,} images: {reason}.")
    for warning in summary.warnings():
        console.print(f"[yellow]Note:[/] {escape(warning)}")
    if as_json:
        typer.echo(
            json.dumps({**summary.as_dict(), "path": str(manifest.path), "dropped": dropped})
        )


def _line(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items())
