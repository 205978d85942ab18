"""Ctrl-C, a closed terminal, a scheduler's signal: end in order, and say how to go on."""

import shlex
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer
from rich.markup import escape

from fedretune.cli.console import say

#: The signals that ask a command to end. A closed terminal's is unknown to Windows.
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(KeyboardInterrupt):
    """A signal asked for the end. No ``except Exception`` on its way may catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stoppable(advice: Callable[[], str]) -> Iterator[None]:
    """End the block on the first signal, and the command with exit code 128 + its number.

    Parameters
    ----------
    advice : callable () -> str
        Asked, once the block has tidied up, what is saved and how to go on.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:  # an impatient second Ctrl-C must not interrupt the tidying up
            signal.signal(each, signal.SIG_IGN)
        say("[yellow]Stopping ...[/]")
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    except Stopped as stopped:
        say(f"[bold]Stopped.[/] {escape(advice())}")
        raise typer.Exit(128 + stopped.number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resume_advice(path: Path, command: str) -> str:
    """Return what of the run in `path` is saved, and the `command` that goes on with it."""
    if (path / "config.toml").is_file():
        return f"Every finished round is saved in {path}. Go on with:\n  {command}"
    return "The run had not begun: the same command starts it again."


def resume_command(
    engine: str,
    options: Mapping[str, object],
    settings: list[str],
    name: str,
    app: Path | None,
    track: Sequence[str] = (),
) -> str:
    """Return the shell command that resumes the run `name` with the same options.

    `engine` is the words behind ``fedretune``, as a shell takes them.
    """
    words = ["fedretune", *shlex.split(engine)]
    for key, value in {**options, "name": name, "app": app}.items():
        if key != "resume" and value is not None:
            words += [f"--{key}", str(value)]
    for option, values in (("--set", settings), ("--track", track)):
        for value in values:
            words += [option, value]
    return shlex.join([*words, "--resume"])
