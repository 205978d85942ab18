"""What is in a manifest, for people on stderr and for machines on stdout."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from fedretune.cli.console import console

if TYPE_CHECKING:
    from fedretune.data.manifest import Manifest
    from fedretune.data.summary import Summary

_SHOWN = 12


def report(
    manifest: "Manifest", dropped: Mapping[str, int], unmapped: Mapping[str, int], as_json: bool
) -> None:
    """Print what is in a manifest, what was left out, and which words were not mapped."""
    from rich.markup import escape

    from fedretune.data.summary import summarise

    summary = summarise(manifest)
    _print_findings(str(manifest.path), summary)
    console.print(
        f"{summary.images:,} images of {summary.patients:,} patients; {_line(summary.splits)}"
    )
    if summary.sites:
        console.print(f"{len(summary.sites)} sites: {escape(_line(summary.sites))}")
    for reason, number in dropped.items():
        console.print(f"[yellow]Dropped[/] {number:,} images: {escape(reason)}.")
    if unmapped:
        often = sorted(unmapped.items(), key=lambda item: -item[1])[:_SHOWN]
        console.print(
            f"[yellow]Not mapped[/] to a finding: {len(unmapped):,} words, most often "
            f"{escape(_line(dict(often)))}."
        )
    for warning in summary.warnings():
        console.print(f"[yellow]Note:[/] {escape(warning)}")
    if as_json:
        counts = {**summary.as_dict(), "path": str(manifest.path)}
        typer.echo(json.dumps({**counts, "dropped": dict(dropped), "unmapped": dict(unmapped)}))


def _print_findings(title: str, summary: "Summary") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for name in ("finding", "positive", "uncertain", "labelled", "unlabelled", "prevalence"):
        table.add_column(name, justify="left" if name == "finding" else "right")
    for count in summary.findings:
        share = f"{count.prevalence:.1%}" if count.labelled else "-"
        numbers = (count.positive, count.uncertain, count.labelled, count.unlabelled)
        table.add_row(escape(count.finding), *(f"{number:,}" for number in numbers), share)
    console.print(table)


def _line(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items())
