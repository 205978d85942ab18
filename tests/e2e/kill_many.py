"""Kill a simulation at random moments, again and again, and go on: the bytes must be the same.

``python -m tests.e2e.kill_many 200`` prints a line every ten trials, and ends with exit code 1
where the result of any differs from that of a run that nobody killed. A trial kills one life of a
run (`kill -9`) or two in a row, at moments drawn evenly from the whole of a life, and lets the last
one live. The process is forked from one that has imported what a run imports, so that the moments
fall on what a run does.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import cycle
from pathlib import Path

#: What a run is: its method, and the processes that play its sites.
KINDS = (("retune", 1), ("ewc+replay", 1), ("retune", 2), ("ewc+replay", 2))
RESULTS = ("adaptors.safetensors", "auroc.csv", "measures.csv")


def warm_up() -> None:
    """Import what a run imports, and what torch puts off until it is used."""
    import torch

    for module in ("clients.app", "fedretune.cli.main", "fedretune.cli.runs", "server.app"):
        import_module(module)
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def live(options: list[str], log: Path, until: float | None = None) -> int:
    """Run ``fedretune simulate`` in a fork; kill it after `until` seconds. Return its exit code."""
    child = os.fork()
    if not child:
        _simulate(options, log)
    began = time.monotonic()
    while until is None or time.monotonic() - began < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _simulate(options: list[str], log: Path) -> None:
    """Be the command from here on."""
    from fedretune.cli.main import main

    with log.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["fedretune", "simulate", *options]
    code = 1
    with suppress(Exception):
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    os._exit(code)


def result(folder: Path) -> tuple[str, ...]:
    """Return the hashes of what a run must end with."""
    return tuple(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in RESULTS)


def state(folder: Path) -> str:
    """Say how far a run has come, by what is on the disk."""
    summary = folder / "summary.json"
    if not (folder / "config.toml").is_file():
        return "unmade"
    if summary.is_file() and json.loads(summary.read_text())["status"] == "complete":
        return "complete"
    return "under way"


class Bench:
    """Trials over the kinds of runs, in a folder.

    Parameters
    ----------
    out : Path
    seed : int
        Of the moments.
    """

    def __init__(self, out: Path, seed: int) -> None:
        from tests.cli.tiny import make_tiny

        self.out = out
        self.random = random.Random(seed)
        self.killed_while: Counter[str] = Counter()
        self._tiny = make_tiny(out / "tiny")
        self._whole = {kind: self._undisturbed(kind) for kind in KINDS}

    def options(self, name: str, kind: tuple[str, int]) -> list[str]:
        method, workers = kind
        changes = {"name": name, "rounds": 3, "method": method, "workers": workers}
        options = self._tiny.options(self.out / "runs", **changes)
        return [*options, "--set", "train.epochs=2", "--set", "remedy.replay=5"]

    def _undisturbed(self, kind: tuple[str, int]) -> tuple[tuple[str, ...], float]:
        """Return the result of a run that nobody kills, and how long it lives."""
        for attempt in ("first", "second"):  # the first one of all encodes the images
            name = f"{attempt}-{kind[0]}-{kind[1]}"
            began = time.monotonic()
            code = live(self.options(name, kind), self.out / "log")
            took = time.monotonic() - began
            assert code == 0, (self.out / "log").read_text()
        return result(self.out / "runs" / name), took

    def trial(self, number: int, kind: tuple[str, int]) -> bool:
        """Kill a run, once or twice, and tell whether it ended with the same bytes."""
        whole, life = self._whole[kind]
        name = f"trial-{number}"
        folder = self.out / "runs" / name
        for _ in range(self.random.choice((1, 2))):
            if state(folder) != "complete":
                live(self._again(name, kind), self.out / "log", self.random.uniform(0, life))
                self.killed_while[state(folder)] += 1
        if state(folder) != "complete":
            code = live(self._again(name, kind), self.out / "log")
            if code:
                print(f"trial {number}: exit code {code}", flush=True)
                return False
        return result(folder) == whole

    def _again(self, name: str, kind: tuple[str, int]) -> list[str]:
        options = self.options(name, kind)
        unmade = state(self.out / "runs" / name) == "unmade"
        return options if unmade else [*options, "--resume"]


@contextmanager
def bench(seed: int) -> Iterator[Bench]:
    """Give a bench in a folder of its own; where it fails, the folder stays."""
    out = Path(tempfile.mkdtemp(prefix="kill-many-"))
    os.environ["FEDRETUNE_CACHE"] = str(out / "cache")
    warm_up()
    yield Bench(out, seed)
    shutil.rmtree(out, ignore_errors=True)


def main(trials: int, seed: int = 0) -> int:
    """Run the trials; return how many ended otherwise."""
    with bench(seed) as made:
        wrong = 0
        for number, kind in zip(range(1, trials + 1), cycle(KINDS), strict=False):
            wrong += not made.trial(number, kind)
            if number % 10 == 0 or number == trials:
                states = ", ".join(f"{n} {what}" for what, n in sorted(made.killed_while.items()))
                same = f"{number - wrong} of {number} with the same bytes"
                print(f"{same}; lives that ended while the run was {states}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(*map(int, sys.argv[1:])), 1))
