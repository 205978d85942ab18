"""``fedretune server``: the SuperLink of a federation across hospitals, and runs on it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedretune.cli import options, runs
from fedretune.cli.console import say

app = typer.Typer(no_args_is_help=True, help="Run a federation across hospitals.")
Folder = Annotated[Path, typer.Argument(help="The server's folder.")]


@app.command("init")
def init(
    folder: Folder,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address by which sites reach it; repeatable."),
    ] = None,
    bind: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 9092,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files to stdout.")] = False,
) -> None:
    """Make a server's folder: certificates for a trial, start.sh, a systemd unit."""
    from rich.markup import escape

    from fedretune.sites.folder import START
    from fedretune.superlink import NewServer, init_server, open_server
    from fedretune.superlink.certificates import AUTHORITY

    hosts = [*(host or []), *([bind] if bind not in ("0.0.0.0", "::") else [])]
    init_server(folder, NewServer(tuple(hosts), bind, port))
    where = escape(str(folder))
    say(f"[bold green]Made[/] {where}. Next:")
    say(f"1. Start the SuperLink:\n   {where}/start.sh")
    say(f"2. Send {where}/ca.crt to each hospital; admit the key that it sends:")
    say(f"   fedretune server admit {where} KEY.pub --name NAME")
    say(f"3. When their SuperNodes run:\n   fedretune server run {where} --sites 3")
    if as_json:
        made = open_server(folder)
        files = {"root_certificate": AUTHORITY, "start": START}
        paths = {what: str(made.path / each) for what, each in files.items()}
        typer.echo(json.dumps({"address": made.address, **paths}))


@app.command("admit")
def admit(
    folder: Folder,
    key: Annotated[Path, typer.Argument(help="A hospital's site.key.pub.")],
    name: Annotated[str, typer.Option(help="The site's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print its node to stdout.")] = False,
) -> None:
    """Register a hospital's public key at the running SuperLink: it may connect, as this name."""
    from rich.markup import escape

    from fedretune.cli.superlink import admit_key
    from fedretune.superlink import open_server

    node = admit_key(open_server(folder), key, name)
    known = f"node {node}" if node else "whose key the SuperLink knows already"
    say(f"[bold green]Admitted[/] {escape(name)}, {known}.")
    if as_json:
        typer.echo(json.dumps({"name": name, "node": node or None}))


@app.command("sites")
def sites(folder: Folder) -> None:
    """Print, as JSON, the hospitals that the SuperLink knows, and which are online."""
    from fedretune.cli.superlink import registered
    from fedretune.superlink import open_server

    typer.echo(json.dumps(registered(open_server(folder))))


@app.command("run")
def run(
    folder: Folder,
    sites: options.Sites = None,
    scenario: options.ScenarioName = None,
    experiences: options.Experiences = None,
    rounds: options.Rounds = None,
    method: options.Method = None,
    seed: options.Seed = None,
    out: options.Out = None,
    name: options.Name = None,
    resume: options.Resume = None,
    recipe: options.Recipe = None,
    settings: options.Setting = None,
    track: options.Track = None,
    app: options.AppPath = None,
    as_json: options.AsJson = False,
) -> None:
    """Run a federation of the hospitals that are connected; the run folder is on this machine."""
    given = locals()
    from fedretune.cli.superlink import engine_of
    from fedretune.superlink import open_server

    chosen = {key: given[key] for key in runs.KEYS if given.get(key) is not None}
    result = runs.start(engine_of(open_server(folder)), chosen, settings or [], app, track or ())
    if as_json:
        typer.echo(json.dumps(result))
