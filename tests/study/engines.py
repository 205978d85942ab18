"""Engines for `run_cells` that train nothing; processes import them from here."""

import os
import time
from pathlib import Path

from fedretune.errors import UserError


def nothing() -> None:
    """Need no warming up."""


def note(config: dict) -> None:
    """Write down how the run was started, as a run folder that has ended."""
    folder = Path(config["out"]) / config["name"]
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").touch()
    with (folder / "started").open("a") as file:
        file.write("resumed\n" if config["resume"] else "anew\n")


def fail_at_b(config: dict) -> None:
    """Fail for what a user can mend in seed 1, by a fault in seed 2."""
    if config["seed"] == 1:
        raise UserError("too few sites")
    if config["seed"] == 2:
        raise ZeroDivisionError("division by zero")
    note(config)


def die(config: dict) -> None:
    """End the process, as a kernel short of memory does."""
    os._exit(9)


def sleep(config: dict) -> None:
    """Tell that it has begun, and take for ever."""
    (Path(config["out"]) / str(os.getpid())).touch()
    time.sleep(600)
