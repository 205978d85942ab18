"""Is this machine fit to run FedRETune? Each question with what was found and how to mend it."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from fedretune.paths import cache_folder

#: `ok`; `note`: worth knowing; `fail`: something will not work.
State = Literal["ok", "note", "fail"]

#: Ports that Flower, and sites by default, would listen on, with who does.
PORTS = {39091: "the SuperLink that `flwr run` starts", 9092: "a SuperLink", 9094: "a SuperNode"}
#: Bytes that should be free for data and run folders.
SPARE = 2 * 10**9
#: Programs that Flower starts and that may be left over.
LEFT_OVER = ("flower-superlink", "flower-superexec", "flower-supernode", "raylet")
#: Seconds that a program may take to answer.
PATIENCE = 60.0


@dataclass(frozen=True)
class Answer:
    """What was asked, how it stands, and what was found."""

    name: str
    state: State
    detail: str


def examine(thorough: bool = False) -> Iterator[Answer]:
    """Yield every answer, whatever else has failed; nothing is changed.

    Parameters
    ----------
    thorough : bool (default: False)
        Also start Ray and stop it again, which takes about ten seconds.
    """
    checks: list[tuple[str, Callable[[], tuple[State, str]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("processor", _processor),
        ("device", _device),
        ("disk", _disk),
        ("cache", _cache),
        ("flower", _flower),
        ("ports", _ports),
        ("left over", _left_over),
    ]
    checks += [("ray", _ray)] * thorough
    for name, check in checks:
        try:
            yield Answer(name, *check())
        except Exception as error:  # whatever is broken, the other questions are asked
            yield Answer(name, "fail", f"could not be found out: {error}")


def _python() -> tuple[State, str]:
    text = f"{platform.python_version()} on {platform.platform(terse=True)}, {sys.executable}"
    return ("ok", text) if sys.version_info >= (3, 11) else ("fail", f"{text}: take 3.11 or newer")


def _packages() -> tuple[State, str]:
    """Compare what is installed with what FedRETune wants."""
    from packaging.requirements import Requirement

    wrong, versions = [], [f"fedretune {metadata.version('fedretune')}"]
    for text in metadata.requires("fedretune") or []:
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} is {found}, not {wanted.specifier}")
        versions.append(f"{wanted.name} {found}")
    if wrong:
        return "fail", f"{'; '.join(wrong)}: install FedRETune again with `pip install -e .`"
    return "ok", ", ".join(versions)


def _processor() -> tuple[State, str]:
    from fedretune.workers import cores

    text = f"{cores()} of {os.cpu_count()} cores"
    if hasattr(os, "sysconf"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        text += f", {total / 1e9:.1f} GB of memory"
        if total < 3e9:
            return "note", f"{text}: the demo takes about 3 GB"
    return "ok", text


def _device() -> tuple[State, str]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return "ok", f"GPU: {', '.join(names)}"
    if torch.backends.mps.is_available():
        return "ok", "GPU: Apple's"
    return "ok", "CPU; no GPU is needed"


def _disk() -> tuple[State, str]:
    free = {path: shutil.disk_usage(_there(path)).free for path in (Path.cwd(), cache_folder())}
    text = ", ".join(f"{count / 1e9:.1f} GB free at {path}" for path, count in free.items())
    if min(free.values()) < SPARE:
        return "note", f"{text}: images and runs want {SPARE / 1e9:.0f} GB or more"
    return "ok", text


def _there(path: Path) -> Path:
    """Return the folder, or the nearest above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def _cache() -> tuple[State, str]:
    """Tell what is kept, which can be made again."""
    folder = cache_folder()
    if not folder.is_dir():
        return "ok", f"{folder} is empty: the first run draws and encodes what it needs"
    sizes = {each.name: _size(each) for each in sorted(folder.iterdir())}
    parts = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in sizes.items())
    return "ok", f"{folder}: {parts or 'empty'}; what is deleted there is made again"


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.lstat().st_size for each in files if not each.is_dir())


def _flower() -> tuple[State, str]:
    """Look for Flower's programs beside this Python, where `fedretune run` starts them."""
    beside = Path(sys.executable).parent
    missing = [name for name in ("flwr", "flower-superlink") if not shutil.which(name, path=beside)]
    if missing:
        return "fail", f"{', '.join(missing)} is not in {beside}: `pip install 'flwr[simulation]'`"
    told = f"flwr {metadata.version('flwr')}, ray {metadata.version('ray')}"
    if os.environ.get("FLWR_TELEMETRY_ENABLED") != "0":
        return (
            "note",
            f"{told}; a bare `flwr run` sends telemetry: FLWR_TELEMETRY_ENABLED=0 stops it",
        )
    return "ok", told


def _ports() -> tuple[State, str]:
    taken = [f"{port} (for {who})" for port, who in PORTS.items() if _taken(port)]
    if taken:
        return "note", (
            f"in use: {', '.join(taken)}. `fedretune run` and `simulate` need none of them"
        )
    return "ok", f"{', '.join(map(str, PORTS))} are free"


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _left_over() -> tuple[State, str]:
    """List Flower's processes. A SuperLink that one `flwr run` left serves the next."""
    command = ["ps", "-eo", "pid=,etime=,args="]
    try:
        listed = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE
        )
    except (OSError, subprocess.SubprocessError):
        return "note", "not looked for: there is no `ps` here that lists processes"
    found = list(left_over(listed.stdout))
    if not found:
        return "ok", "no SuperLink, SuperNode or Ray runs here"
    told = "; ".join(f"{name}, process {pid}, for {age}" for pid, age, name in found)
    return "note", f"{told}. Where no run needs it, `kill` its number"


def left_over(listed: str) -> Iterator[tuple[int, str, str]]:
    """Yield (process, age, program) of Flower's in a list of ``ps -eo pid=,etime=,args=``."""
    for line in listed.splitlines():
        pid, age, *words = line.split()
        names = [Path(word).name for word in words[:2]]
        if names and names[0].startswith("python"):  # the interpreter of a script
            names = names[1:]
        if names and names[0] in LEFT_OVER:
            yield int(pid), age, names[0]


def _ray() -> tuple[State, str]:
    code = (
        "import ray; ray.init(num_cpus=1, include_dashboard=False); print(ray.cluster_resources())"
    )
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        return "fail", f"Ray does not start ({last}): `fedretune simulate` does without it"
    return "ok", "starts and stops"
