"""A federation of real processes on this machine: a SuperLink, and each hospital's SuperNode."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fedretune.cli.processes import alive
from fedretune.cli.superlink import admit_key, registered
from fedretune.sites.folder import NewSite, init_site
from fedretune.superlink import NewServer, ServerFolder, init_server, open_server

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
#: Seconds to wait for a process to listen, come online or end.
PATIENCE = 120.0


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait(until, what: str, patience: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + patience
    while not until():
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(0.1)


@dataclass
class Deployment:
    """A server's folder and hospitals' folders below `root`, and their processes."""

    root: Path
    port: int
    manifest: Path
    backbone: str
    mark: str
    processes: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    @property
    def server(self) -> ServerFolder:
        """The server's folder."""
        return open_server(self.root / "server")

    def site(self, name: str) -> Path:
        """Return a hospital's folder."""
        return self.root / name

    def log(self, name: str) -> str:
        """Return what a process has printed."""
        return (self.root / f"{name}.log").read_text(errors="replace")

    def change(self, name: str, file: str, **values: object) -> None:
        """Set keys of one of a hospital's files; ``a_b`` stands for ``a-b``."""
        path = self.site(name) / file
        text = path.read_text()
        for key, value in values.items():
            line = f"{key.replace('_', '-')} = {json.dumps(value)}"
            text, found = re.subn(
                rf"^{key.replace('_', '-')} = .*$", lambda _, line=line: line, text, flags=re.M
            )
            assert found == 1, key
        path.write_text(text)

    def start(self, name: str, *words: str) -> None:
        """Start the script of a folder; its output goes to ``<name>.log``."""
        mark, _, value = self.mark.partition("=")
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(self.root / name / "start.sh"), *words],
                env={**os.environ, mark: value, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_server(self) -> None:
        """Start the SuperLink, and wait until it listens."""
        self.start("server")
        wait(self.listens, "the SuperLink listens")

    def listens(self) -> bool:
        """Tell whether the SuperLink takes connections."""
        assert self.processes["server"].poll() is None, self.log("server")
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.port)) == 0

    def admit(self, name: str) -> None:
        """Register a hospital's key."""
        admit_key(self.server, self.site(name) / "site.key.pub", name)

    def online(self) -> int:
        """Return how many SuperNodes are online."""
        return sum(node["status"] == "online" for node in registered(self.server))

    def wait_online(self, count: int) -> None:
        """Wait until so many SuperNodes are online."""
        for name in self.processes.keys() - {"server"}:  # to ask Flower again and again is dear
            wait((self.site(name) / "warm.socket").exists, f"{name} has its imports behind it")
        wait(lambda: self.online() >= count, f"{count} SuperNodes are online")

    def come_back(self, name: str) -> None:
        """Start a hospital again after a kill, as systemd does: again, while it is turned away.

        The SuperLink takes a node that has not said goodbye for one that is there, until it has
        missed its heartbeats.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.start(name)
            with suppress(subprocess.TimeoutExpired):
                self.processes[name].wait(10)
                time.sleep(2)
                continue
            return
        raise AssertionError(self.log(name))

    def run(self, **options: object) -> "subprocess.CompletedProcess[str]":
        """Run `fedretune server run` to its end."""
        process = self.begin(**options)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def begin(self, **options: object) -> "subprocess.Popen[str]":
        """Start `fedretune server run`."""
        values = {"out": self.root / "runs", "app": ROOT, **options}
        words = [f"--{key}={value}" for key, value in values.items() if key not in ("set", "flags")]
        words += [f"--set={each}" for each in values.get("set", [])]
        words += values.get("flags", [])
        mark, _, value = self.mark.partition("=")
        return subprocess.Popen(
            [SCRIPTS / "fedretune", "server", "run", self.root / "server", *words],
            env={**os.environ, mark: value, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def stop(self, name: str, how: int = signal.SIGTERM) -> None:
        """Send a signal to a process, and wait until it and what it started have ended."""
        process = self.processes.pop(name)
        session = process.pid
        os.kill(session, how)
        process.wait(PATIENCE)
        wait(lambda: not in_session(session), f"all that {name} started ends", 30)

    def left(self) -> list[int]:
        """Return the living processes that were started here, or by one that was."""
        return marked(self.mark)


def marked(mark: str) -> list[int]:
    """Return the living processes that have `mark` in their environment."""
    found = []
    for process, _, _ in alive():
        with suppress(OSError):
            if mark.encode() in Path(f"/proc/{process}/environ").read_bytes():
                found.append(process)
    return found


def in_session(session: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for process, _, _ in alive():
        with suppress(OSError):
            if os.getsid(process) == session:
                found.append(process)
    return found


@contextmanager
def deployed(root: Path, manifest: Path, backbone: str) -> Iterator[Deployment]:
    """Make the folders of a federation of a manifest's sites; kill what is left at the end."""
    table = pd.read_csv(manifest)
    table["image"] = [str(manifest.parent / image) for image in table["image"]]
    root.mkdir(parents=True, exist_ok=True)
    table.to_csv(root / "manifest.csv", index=False)
    port = free_port()
    init_server(root / "server", NewServer(port=port))
    mark = f"FEDRETUNE_TEST_MARK={uuid.uuid4().hex}"
    made = Deployment(root, port, root / "manifest.csv", backbone, mark)
    for name, own in table.groupby("site"):
        own.drop(columns="site").to_csv(root / f"{name}.csv", index=False)
        address = f"127.0.0.1:{port}"
        new = NewSite(name, str(root / f"{name}.csv"), backbone, address, port=free_port())
        init_site(root / name, new)
        (root / name / "ca.crt").write_bytes((root / "server" / "ca.crt").read_bytes())
        made.change(name, "policy.toml", smallest_shard=0)  # there are few images
    try:
        yield made
    finally:
        for process in made.left():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
