"""What a person sees of a run: a line a round while it goes on, a table at its end."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fedretune.cli.console import say
from fedretune.cli.ending import closing_lines, figure, final_table, in_words, size
from fedretune.tracking import rounds_done

#: Seconds between two looks at the run folder.
POLL = 0.2

#: Width of the bar of rounds, in characters.
BAR = 16

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Status:
    """Where a run is: what stands beside its bar, in two lines that leave room for it."""

    where: str = ""
    sites: int = 0
    out: int = 0
    loss: float = 0.0
    auroc: float | None = None
    bytes: int = 0

    def text(self) -> str:
        """Return the two lines."""
        return (
            f"{self.where}  sites {self.sites} in, {self.out} out\n"
            f"loss {self.loss:.4f}  last AUROC {figure(self.auroc)}  {size(self.bytes)} so far"
        )


class RunView:
    """Prints a run's events to a console, one line each; on a terminal above a bar of rounds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            speed_estimate_period=600,
        )
        self._task = self.bar.add_task("waiting for the sites", total=None)
        self._experiences = self._rounds = 0
        self._status = Status()
        self._told: set[tuple[object, ...]] = set()

    def show(self, event: Event) -> None:
        """Print one event of ``metrics.jsonl``."""
        handler = getattr(self, f"_show_{event['event']}", None)
        if handler:
            handler(event)

    def finish(self, summary: Mapping[str, Any], folder: Path) -> None:
        """Print the final table of a complete run, and where it is."""
        self.console.print(
            "\n[bold]Pooled macro AUROC[/], scored by the difference. Rows: after which "
            "experience. Columns: on which experience's test images."
        )
        self.console.print(final_table(summary, self.console.width))
        for line in closing_lines(summary):
            say(line, self.console)
        say(f"Run folder: {escape(str(folder))}", self.console)

    def _show_start(self, event: Event) -> None:
        self._experiences, self._rounds = event["experiences"], event["rounds"]
        names = event["sites"]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        what = f"{_count(self._experiences, 'experience')} of {_count(self._rounds, 'round')}"
        say(f"[bold]{_count(len(names), 'site')}[/] ({escape(shown)}), {what}", self.console)
        done = rounds_done(event["step"], self._rounds)
        if event["step"]:
            say(f"resumed after {done} of {self._experiences * self._rounds} rounds", self.console)
        total = self._experiences * self._rounds
        self.bar.reset(self._task, total=total, completed=done, description=f"{total} rounds")

    def _show_note(self, event: Event) -> None:
        say(f"[yellow]{escape(event['text'])}[/]", self.console)

    def _show_round(self, event: Event) -> None:
        bytes_ = event.get("bytes_up", 0) + event.get("bytes_down", 0)
        say(
            f"{self._where(event)}  sites {event['sites']}/{event['asked']}  {size(bytes_)}  "
            f"loss {event['loss']:.4f}",
            self.console,
        )
        if event.get("cut"):
            what = f"{event['cut']:,} numbers of updates were cut to secure-clip: raise it?"
            say(f"{self._where(event)}  [yellow]{what}[/]", self.console)
        self._status = replace(
            self._status,
            where=self._where(event),
            sites=event["sites"],
            out=event["asked"] - event["sites"],
            loss=event["loss"],
            bytes=bytes_,
        )
        self.bar.update(self._task, advance=1, description=self._status.text())

    def _show_evaluation(self, event: Event) -> None:
        macro = figure(event["macro"])
        self._status = replace(self._status, auroc=event["macro"])
        if self._status.where:
            self.bar.update(self._task, description=self._status.text())
        if event["model"] == "zero-shot":
            text = f"zero-shot: pooled AUROC {macro}"
        elif event["after_experience"] < 0:
            text = f"untrained adaptors: pooled AUROC {macro}"
        else:
            number = event["after_experience"] + 1
            text = f"[bold]after experience {number}: pooled AUROC {macro}[/]"
        say(text, self.console)

    def _show_site(self, event: Event) -> None:
        """Tell why a site is not part of a step: once an experience, not every round."""
        key = (event["site"], event["status"], event["reason"], event["experience"])
        if key in self._told:
            return
        self._told.add(key)
        where = f"{self._where(event)}  " if event["experience"] >= 0 else ""
        what = f"{event['site']}: {in_words(event['status'])}"
        say(f"{where}[yellow]{escape(what)}[/] ({escape(event['reason'])})", self.console)

    def _where(self, event: Event) -> str:
        where = f"experience {event['experience'] + 1}/{self._experiences}"
        if event["round"] < 0:
            return where
        return f"{where}  round {event['round'] + 1}/{self._rounds}"


@contextmanager
def following(path: Path, view: RunView, *listeners: Callable[[Event], None]) -> Iterator[None]:
    """Show each line that is appended to `path` while the block runs, and the rest at its end.

    Every event goes to the `listeners`, too.
    """
    stop = threading.Event()
    tell = (view.show, *listeners)
    began = time.time() - 0.001  # times in the file are rounded to milliseconds
    thread = threading.Thread(target=_follow, args=(path, tell, stop, began), daemon=True)
    with view.bar:
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _follow(
    path: Path, tell: Sequence[Callable[[Event], None]], stop: threading.Event, began: float
) -> None:
    """Show events from `began` on. Until one is there, the file's beginning is read anew.

    A resumed run first cuts the file back to its last checkpoint; what it has written since it
    began is only ever appended to.
    """
    position = 0
    while True:
        last = stop.wait(POLL)
        lines = _whole_lines(path, position)
        events = [json.loads(line) for line in lines]
        new = [event for event in events if event["time"] >= began]
        if new:
            position += sum(map(len, lines))
        for event in new:
            for each in tell:
                each(event)
        if last:
            return


def _whole_lines(path: Path, position: int) -> list[bytes]:
    """Return the lines from a position on, without one that is still being written."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(position)
        lines = file.readlines()
    return [line for line in lines if line.endswith(b"\n")]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
