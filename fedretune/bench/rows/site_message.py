"""A message to a hospital, across TLS and processes, against the same work in this process."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from fedretune.bench.frame import Case, Sample, Side
from fedretune.bench.made import make_manifest
from fedretune.bench.options import Options
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.flower import script
from fedretune.cli.processes import end
from fedretune.cli.superlink import admit_key, registered
from fedretune.errors import UserError
from fedretune.paths import cache_folder
from fedretune.sites.folder import NewSite, init_site
from fedretune.superlink import NewServer, ServerFolder, init_server, open_server

#: Rounds of a run: between their ends lie the messages that are measured.
ROUNDS = 6
#: Seconds that processes have to start, and to end.
START, STOP = 60.0, 10.0


def row(options: Options) -> Case:
    """A training message to one site: from the end of a round to the end of the next."""
    app, folder = find_app(options.app), options.folder
    values = {
        "manifest": str(make_manifest(options, 1)),
        "backbone": options.backbone,
        "sites": 1,
        "experiences": options.scale.experiences,
        "rounds": ROUNDS,
    }

    def across() -> Sample:
        with _hospital(folder / "deployed", values) as server:
            return _measured(folder / "deployed", lambda out: _run(app, server, values, out))

    def here() -> Sample:
        config = app.module("scenarios").RunConfig
        simulate = app.module("server.simulator").simulate

        def run(out: Path) -> None:
            flat = config.from_flat({**values, "out": str(out), "name": "bench"}).to_flat()
            simulate(app.server_app, app.client_app, flat, 1)

        return _measured(folder / "here", run)

    what = "a training message to a hospital's SuperNode, over TLS"
    return Case("s", Side(what, across), Side("the same in this process", here), {}, repeats=3)


def _measured(folder: Path, run: Callable[[Path], None]) -> Sample:
    """Return the median seconds from the end of one round of a run to the end of the next."""
    run(folder)
    lines = (folder / "bench" / "metrics.jsonl").read_text().splitlines()
    shutil.rmtree(folder)
    events = [json.loads(line) for line in lines]
    pairs = [(a, b) for a, b in pairwise(events) if (a["event"], b["event"]) == ("round", "round")]
    return Sample(median(b["seconds"] - a["seconds"] for a, b in pairs), None)


def _run(app: AppFolder, server: ServerFolder, values: dict[str, Any], out: Path) -> None:
    given = {key: values[key] for key in ("sites", "experiences", "rounds")}
    words = [f"--{key}={value}" for key, value in {**given, "out": out, "name": "bench"}.items()]
    command = [script("fedretune"), "server", "run", str(server.path), f"--app={app.path}", *words]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "COLUMNS": "80"})


@contextmanager
def _hospital(folder: Path, values: dict[str, Any]) -> Iterator[ServerFolder]:
    """Give a SuperLink with one hospital that is online; both end with the block."""
    port, own = (_free_port() for _ in range(2))
    init_server(folder / "server", NewServer(port=port))
    new = NewSite("hospital", values["manifest"], values["backbone"], f"127.0.0.1:{port}", port=own)
    init_site(folder / "hospital", new)
    shutil.copy(folder / "server" / "ca.crt", folder / "hospital")
    site = folder / "hospital" / "site.toml"
    text = site.read_text().replace('cache = "cache"', f"cache = {json.dumps(str(cache_folder()))}")
    site.write_text(text)
    server, started = open_server(folder / "server"), list[subprocess.Popen[bytes]]()
    try:
        started.append(_start(folder / "server"))
        _retry(lambda: bool(admit_key(server, folder / "hospital" / "site.key.pub", "hospital")))
        started.append(_start(folder / "hospital"))
        _retry(lambda: any(each["status"] == "online" for each in registered(server)))
        yield server
    finally:
        for process in reversed(started):
            end(process, STOP)


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [folder / "start.sh"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _retry(done: Callable[[], bool]) -> None:
    """Wait until something is done; what is refused meanwhile is tried again."""
    deadline = time.monotonic() + START
    while True:
        try:
            if done():
                return
        except UserError:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise UserError(f"A SuperNode on this machine was not online after {START:.0f} s.")
        time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
