"""``flwr run`` with its surroundings: a private SuperLink, the right environment, a real verdict.

A bare ``flwr run`` leaves a SuperLink behind, which serves the next run with the environment of
the first. Here each run has a SuperLink of its own on a free port, and takes it down again.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fedretune.cli.app_folder import AppFolder
from fedretune.cli.kept import kept
from fedretune.cli.processes import end
from fedretune.errors import RunFailedError, UserError
from fedretune.workers import cores

#: Seconds that a SuperLink may take to answer; and, with all that it started, to end.
START, STOP = 60.0, 5.0

CONNECTION = """[superlink]
default = "fedretune"

[superlink.fedretune]
address = "127.0.0.1:{port}"
insecure = true
"""


def run_with_flower(app: AppFolder, config: dict[str, Any]) -> None:
    """Run the app under Flower's simulation engine to its end.

    Raises
    ------
    UserError
        The run did not end well; the message says why and where the log is.
    """
    folder = Path(config["out"]) / config["name"]
    with tempfile.TemporaryDirectory(prefix="fedretune-flower-") as temporary:
        home = Path(temporary)
        log = home / "flower.log"
        try:
            with _superlink(home, log) as environment, log.open("ab") as output:
                process = _start(_command(app, config, home), environment, output)
                try:
                    process.wait()
                finally:
                    if process.poll() is None:
                        end(process, STOP)
        finally:
            kept = (folder if folder.is_dir() else folder.parent) / "flower.log"
            if log.is_file():
                shutil.copy(log, kept)
    check_success(folder, kept)


def check_success(folder: Path, log: Path) -> None:
    """Raise `UserError`, naming Flower's `log`, unless the run in `folder` is complete."""
    try:
        summary = json.loads((folder / "summary.json").read_text())
    except (OSError, ValueError):
        summary = {}
    if summary.get("status") != "complete":
        reason = summary.get("reason") or _last_error(log)
        raise RunFailedError(f"{reason}\nFlower's log: {log}")


def _last_error(log: Path) -> str:
    """Return what Flower's log calls the last error, for a run that left no reason itself."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    errors = re.findall(r"^[\w.]*(?:Error|Exception): .+", text, flags=re.MULTILINE)
    return ": ".join(["Flower ended without a result", *errors[-1:]])


def _command(app: AppFolder, config: dict[str, Any], home: Path) -> list[str]:
    import tomli_w

    values = home / "run-config.toml"
    values.write_text(tomli_w.dumps(config))
    workers = config["workers"] or cores()
    nodes = app.module("scenarios").RunConfig.from_flat(config).nodes
    federation = f"num-supernodes={nodes} client-resources-num-cpus=1"
    return [
        script("flwr"),
        "run",
        str(app.path),
        "fedretune",
        "--stream",
        "--run-config",
        str(values),
        "--federation-config",
        f"{federation} init-args-num-cpus={min(workers, nodes)}",
    ]


@contextmanager
def _superlink(home: Path, log: Path) -> Iterator[dict[str, str]]:
    """Start a SuperLink of our own; give the environment in which ``flwr`` finds it."""
    port = _free_port()
    (home / "config.toml").write_text(CONNECTION.format(port=port))
    environment = {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
        # Flower starts its parts by their names.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    command = [script("flower-superlink"), "--insecure", "--simulation"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--disable-runtime-dependency-installation"]
    with log.open("ab") as output:
        process = _start(command, environment, output)
    try:
        _wait_until_healthy(port, process)
        yield environment
    finally:
        end(process, STOP)


def _start(
    command: list[str], environment: dict[str, str], output: BinaryIO
) -> "subprocess.Popen[bytes]":
    """Start a command that ends with this process, even if this one is killed outright."""
    return subprocess.Popen(
        kept(command),
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _wait_until_healthy(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RunFailedError(
                f"Flower's SuperLink ended at once (exit code {process.returncode})"
            )
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RunFailedError(f"Flower's SuperLink did not answer within {START:.0f} s")


def script(name: str) -> str:
    """Return a command of the environment that this Python belongs to."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if not found:
        raise UserError(f"The command '{name}' is missing: install Flower with pip install flwr.")
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
