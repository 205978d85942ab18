"""``python -m tests.e2e.load_sites``: many hospitals on this machine; what they cost the server.

A SuperLink with TLS and admitted keys, a SuperNode for each hospital, one warm process for all of
them. It prints the memory of the SuperLink and of the ServerApp after each round, and how many
replies were lost, and takes everything down again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from fedretune.data.phantoms import write
from fedretune.sites.folder import WARM_MODULES
from tests.backbones.tiny import write_folder
from tests.e2e.deployment import Deployment, deployed, marked

#: Patients of each hospital: as few as two experiences' worth of images need.
PATIENTS = 6
#: SuperNodes that start at a time: each takes a core for a second or two.
TOGETHER = 8


def main() -> int:
    """Run the load; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=40, help="after which it gives up")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedretune-load-") as folder:
        return load(Path(folder), given.sites, given.rounds, 60 * given.minutes)


def load(root: Path, sites: int, rounds: int, seconds: float) -> int:
    """Start the hospitals, run the rounds, print the table."""
    manifest = write(root / "phantoms", patients=PATIENTS * sites, sites=1, seed=1, size=64)
    deal(manifest, sites)
    os.environ["FEDRETUNE_WARM_SOCKET"] = str(root / "w")
    os.environ["FLWR_SUPEREXEC_TASK_POLL_INTERVAL"] = "2"
    backbone = f"local-dir:{write_folder(root / 'backbone')}"
    with deployed(root / "f", manifest, backbone) as made:
        command = [sys.executable, "-m", "fedretune.sites.warm", str(root / "w"), *WARM_MODULES]
        warm = subprocess.Popen(command, env={**os.environ, **dict([made.mark.split("=")])})
        begun = time.monotonic()
        start(made, sites)
        print(f"{sites} SuperNodes online after {time.monotonic() - begun:.0f} s", flush=True)
        lost = watch(made, sites, rounds, seconds)
        warm.terminate()
    return lost


def deal(manifest: Path, sites: int) -> None:
    """Give each site as many patients, of every split as far as they go."""
    table = pd.read_csv(manifest)
    patients = table.drop_duplicates("patient").sort_values("split")["patient"]
    site = {patient: f"site-{n % sites + 1:03}" for n, patient in enumerate(patients)}
    table["site"] = table["patient"].map(site)
    table.to_csv(manifest, index=False)


def start(made: Deployment, sites: int) -> None:
    """Admit and start all hospitals, a few at a time."""
    made.start_server()
    names = sorted(path.name for path in made.root.iterdir() if (path / "site.toml").is_file())
    assert len(names) == sites
    for number, name in enumerate(names, start=1):
        made.admit(name)
        made.start(name)
        if number % TOGETHER == 0 or number == sites:
            made.wait_online(number)


def watch(made: Deployment, sites: int, rounds: int, seconds: float) -> int:
    """Run the rounds; print memory after each; return 0 if no reply was lost."""
    begun = time.monotonic()
    options = {"sites": sites, "experiences": 1, "rounds": rounds, "name": "load"}
    process = made.begin(**options, set=["train.epochs=1"])
    folder, seen = made.root / "runs" / "load", 0
    print("round  sites  seconds  SuperLink MiB  ServerApp MiB", flush=True)
    while process.poll() is None and time.monotonic() - begun < seconds:
        events = read(folder, "round")
        for event in events[seen:]:
            memory = "  ".join(f"{mib(made, name):13.0f}" for name in ("superlink", "serverapp"))
            took = time.monotonic() - begun
            print(f"{event['round'] + 1:5}  {event['sites']:5}  {took:7.0f}  {memory}", flush=True)
        seen = len(events)
        time.sleep(0.5)
    if process.poll() is None:
        process.terminate()
        print("not done in time", flush=True)
    _, err = process.communicate()
    left = [each for each in read(folder, "site") if each["status"] not in ("joined", "trained")]
    trained = sum(event["sites"] for event in read(folder, "round"))
    print(f"{trained} of {sites * rounds} training replies; left out: {len(left)} {left[:3]}")
    if process.returncode:
        print(err[-2000:])
    return int(bool(left) or trained != sites * rounds or bool(process.returncode))


def read(folder: Path, kind: str) -> list[dict]:
    """Return a run's events of a kind so far."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [each for each in map(json.loads, lines) if each["event"] == kind]


def mib(made: Deployment, what: str) -> float:
    """Return the resident memory of the process with these words in its command."""
    for pid in marked(made.mark):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
        if any(
            word.endswith((f"flower-{what}".encode(), f"flwr-{what}".encode())) for word in words
        ):
            return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return float("nan")


if __name__ == "__main__":
    sys.exit(main())
