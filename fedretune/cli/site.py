"""``fedretune site``: a hospital's folder, and what keeps it from taking part."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fedretune.cli.console import console, say

app = typer.Typer(no_args_is_help=True, help="Join a federation as a hospital.")
Folder = Annotated[Path, typer.Argument(help="The hospital's folder.")]


@app.command("init")
def init(
    folder: Folder,
    name: Annotated[str, typer.Option(help="The site's name in the federation.")],
    manifest: Annotated[str, typer.Option(help="The manifest of its images.")] = "manifest.csv",
    backbone: Annotated[str, typer.Option(help="A backbone on this disk.")] = "phantom-clip",
    superlink: Annotated[str, typer.Option(help="The server's HOST:PORT.")] = "127.0.0.1:9092",
    root_certificate: Annotated[
        str, typer.Option(help="The server's ca.crt; relative to the folder.")
    ] = "ca.crt",
    port: Annotated[int, typer.Option(help="A free port of this machine, for itself.")] = 9094,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files to stdout.")] = False,
) -> None:
    """Make a hospital's folder: site.toml, policy.toml, keys, start.sh and a systemd unit."""
    from rich.markup import escape

    from fedretune.sites.folder import START, NewSite, init_site
    from fedretune.sites.site_file import POLICY, SITE

    if manifest != "manifest.csv":
        manifest = str(Path(manifest).expanduser().absolute())
    if root_certificate != "ca.crt":
        root_certificate = str(Path(root_certificate).expanduser().absolute())
    init_site(folder, NewSite(name, manifest, backbone, superlink, root_certificate, port))
    say(f"[bold green]Made[/] {escape(str(folder))}. Next:")
    say("1. Read policy.toml and site.toml there; they are yours alone.")
    say("2. Send site.key.pub to the server's operator, and have its ca.crt sent to you.")
    say(f"3. When both are done:\n   fedretune site check {escape(str(folder))}")
    say(f"   {escape(str(folder))}/start.sh")
    if as_json:
        names = {"site": SITE, "policy": POLICY, "public_key": "site.key.pub", "start": START}
        files = {what: str(folder.expanduser().absolute() / each) for what, each in names.items()}
        typer.echo(json.dumps({"name": name, **files}))


@app.command("trust")
def trust(
    folder: Folder,
    key: Annotated[Path, typer.Argument(help="The other hospital's site.key.pub.")],
    name: Annotated[str, typer.Option(help="The other site's name.")],
) -> None:
    """Put another hospital's key into this one's peers.toml, for secure sums with signed keys."""
    from rich.markup import escape

    from fedretune.identity import add_key, fingerprint, read_public
    from fedretune.sites import load_site

    site, public = load_site(folder), read_public(key)
    add_key(site.peers, name, public)
    say(
        f"[bold green]Trusted[/] as {escape(name)}: {fingerprint(public)}. Compare it by telephone."
    )


@app.command("check")
def check(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks to stdout.")] = False,
) -> None:
    """Tell every reason why this site could not take part, each with its mend."""
    from rich.markup import escape

    from fedretune.sites.checks import check_site

    findings = check_site(folder)
    for each in findings:
        mark = "[green]ok  [/]" if each.passed else "[bold red]FAIL[/]"
        say(f"{mark} {each.name}: {escape(each.detail)}", console)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in findings]))
    failed = sum(not each.passed for each in findings)
    if failed:
        say(f"[bold red]{failed}[/] to mend; nothing was changed.")
        raise typer.Exit(2)
    say("[bold green]This site can take part.[/]")
