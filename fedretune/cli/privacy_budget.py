"""``fedretune privacy budget``: what is spent, by site and experience."""

import csv
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli.console import console, say
from fedretune.errors import UserError

#: In the place of a site, in the account of a server that hides whole sites.
ALL = "@all"


def command(
    folder: Annotated[Path, typer.Argument(help="A run folder, or a hospital's own folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures to stdout.")] = False,
) -> None:
    """Show the epsilon that each site has spent, after each experience, at the run's delta.

    Of a hospital's folder: what all runs together have spent, and what its policy leaves.

    Example: fedretune privacy budget runs/first
    """
    told = _of_site(folder) if (folder / "site.toml").is_file() else _of_run(folder)
    if as_json:
        typer.echo(json.dumps(told))
    elif "site" in told:
        left = f" of {told['allowed']:g}" if told["allowed"] else ", and its policy sets no limit"
        say(
            f"{escape(told['site'])} has spent epsilon [bold]{told['epsilon']:.3f}[/]{left} at "
            f"delta {told['delta']:g}, in {told['rounds']} rounds."
        )
    else:
        _show(told)


def _of_run(folder: Path) -> dict[str, Any]:
    path = folder / "privacy.csv"
    rows = list(csv.DictReader(path.open(encoding="utf-8"))) if path.is_file() else []
    if not rows:
        what = "no run folder" if not (folder / "config.toml").is_file() else "a run in which"
        raise UserError(
            f"{folder} is {what}, or none of its sites hid anything: there is no privacy.csv with "
            "a line. Runs with --set privacy.mechanism=example or site have one."
        )
    sites: dict[str, dict[str, float]] = {}
    for row in rows:
        sites.setdefault(row["site"], {})[row["experience"]] = float(row["epsilon"])
    first = rows[0]
    return {
        "delta": float(first["delta"]),
        "unit": first["unit"],
        "noise_sources": sorted({row["source"] for row in rows}),
        "sites": sites,
    }


def _of_site(folder: Path) -> dict[str, Any]:
    from fedretune.privacy.ledger import PrivacyLedger
    from fedretune.sites import load_site

    site = load_site(folder)
    policy, ledger = site.read_policy(), PrivacyLedger(site.memory / "privacy.csv")
    return {
        "site": site.name,
        "epsilon": ledger.epsilon(policy.delta),
        "allowed": policy.epsilon,
        "delta": policy.delta,
        "rounds": len(ledger.releases()),
    }


def _show(told: dict[str, Any]) -> None:
    from rich.table import Table

    experiences = sorted({each for spent in told["sites"].values() for each in spent}, key=int)
    table = Table("site", *(f"after {int(each) + 1}" for each in experiences))
    for site, spent in sorted(told["sites"].items()):
        name = "every site" if site == ALL else escape(site)
        cells = (f"{spent[each]:.3f}" if each in spent else "-" for each in experiences)
        table.add_row(name, *cells)
    say(
        f"Epsilon spent at delta {told['delta']:g}, for each {told['unit']}, after which "
        f"experience; noise: {', '.join(told['noise_sources'])}."
    )
    console.print(table)
