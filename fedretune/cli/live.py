"""What a person sees of a run: a line a round while it goes on, a table at its end."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedretune.cli.console import say

#: Seconds between two looks at the run folder.
POLL = 0.2

#: Widths in characters of a figure's column, and of the table's first and last together.
FIGURE, EDGES = 8, 26

#: What a site's statuses, as ``sites.csv`` has them, are to a reader.
IN_WORDS = {
    "quarantined": "reply quarantined",
    "silent": "no reply",
    "refused": "refused",
    "failed": "failed",
    "aside": "put aside",
    "late": "late reply dropped",
    "repeated": "second reply dropped",
    "no-images": "sits out",
}

#: Sites that the end of a run names with what was left out of them.
LEFT_OUT = 6

Event = Mapping[str, Any]


class RunView:
    """Prints a run's events to a console, one line each; on a terminal above a bar of rounds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            speed_estimate_period=600,
        )
        self._task = self.bar.add_task("waiting for the sites", total=None)
        self._experiences = self._rounds = 0
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
        for line in _closing_lines(summary):
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

    def _show_round(self, event: Event) -> None:
        say(
            f"{self._where(event)}  sites {event['sites']}/{event['asked']}  "
            f"loss {event['loss']:.4f}",
            self.console,
        )
        self.bar.update(self._task, advance=1)

    def _show_evaluation(self, event: Event) -> None:
        macro = _figure(event["macro"])
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
        what = f"{event['site']}: {_in_words(event['status'])}"
        say(f"{where}[yellow]{escape(what)}[/] ({escape(event['reason'])})", self.console)

    def _where(self, event: Event) -> str:
        where = f"experience {event['experience'] + 1}/{self._experiences}"
        if event["round"] < 0:
            return where
        return f"{where}  round {event['round'] + 1}/{self._rounds}"


def rounds_done(step: int, rounds: int) -> int:
    """Return how many rounds are among a run's first `step` steps.

    Two evaluations come first; then each experience has its rounds and one evaluation.
    """
    experience, round_ = divmod(max(step - 2, 0), rounds + 1)
    return experience * rounds + round_


def final_table(summary: Mapping[str, Any], width: int) -> Table:
    """Return the table of pooled macro AUROC on each experience after each experience.

    Where not all columns fit into `width` characters, those in the middle are left out.
    """
    first, last = _columns(summary["experiences"], width)
    table = Table()
    table.add_column("after")
    for experience in first:
        table.add_column(f"{experience + 1}", justify="right")
    if last:
        table.add_column("...")
    for experience in last:
        table.add_column(f"{experience + 1}", justify="right")
    table.add_column("mean", justify="right", style="bold")
    for name, row in _rows(summary).items():
        cells = [_figure(row[e]) for e in first] + ["..."] * bool(last)
        cells += [_figure(row[e]) for e in last]
        table.add_row(name, *cells, _figure(_mean(row)))
    return table


def _rows(summary: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Return the table's rows by name: what was there before training, then after each step."""
    rows = {"zero-shot": summary["zero_shot_by_experience"]}
    trained = summary["auroc_after_experience"]
    if len(trained) == 1 < summary["experiences"]:
        return {**rows, "all at once": trained[0]}
    return rows | {f"experience {number}": row for number, row in enumerate(trained, start=1)}


def _columns(experiences: int, width: int) -> tuple[range, range]:
    """Return the first and the last experiences that fit; all are first when all fit."""
    fit = (width - EDGES) // FIGURE
    if experiences <= fit:
        return range(experiences), range(0)
    half = max((fit - 1) // 2, 1)
    return range(half), range(experiences - half, experiences)


def _closing_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    yield from _figures_and_bytes(summary)
    if undefined := summary["undefined_findings"]:
        shown = ", ".join(
            f"{escape(finding)} ({_listed(experiences, summary['experiences'])})"
            for finding, experiences in undefined.items()
        )
        yield (
            "[yellow]No AUROC, and so left out of the means,[/] where there are no positive or no "
            f"negative test images: {shown}."
        )
    if left_out := summary["quarantined"]:
        shown = "; ".join(map(_left_out, left_out[:LEFT_OUT]))
        more = "; ..." if len(left_out) > LEFT_OUT else ""
        yield f"[yellow]Not all took part throughout:[/] {shown}{more}. sites.csv has every time."


def _left_out(entry: Mapping[str, Any]) -> str:
    """Say in words what is left out of a site, and its commonest reason."""
    words = _in_words(entry["status"])
    times = "once" if entry["times"] == 1 else f"{entry['times']} times"
    return escape(f"{entry['site']} {words} {times} ({entry['reasons'][0]})")


def _in_words(status: str) -> str:
    return IN_WORDS.get(status, status)


def _figures_and_bytes(summary: Mapping[str, Any]) -> Iterator[str]:
    figures = f"Zero-shot {_figure(summary['zero_shot_auroc'])}"
    sent = f"{_size(summary['bytes_up'])} up, {_size(summary['bytes_down'])} down, in "
    sent += f"{summary['wall_seconds']:.0f} s."
    if not summary["auroc_after_experience"]:
        untrained = summary["untrained_auroc"]
        figures += "" if untrained is None else f", untrained {_figure(untrained)}"
        yield f"{figures}; nothing was trained."
        yield f"Sent to evaluate: {sent}"
        return
    yield (
        f"{figures}, final {_figure(summary['final_auroc'])}; forgetting "
        f"{_figure(summary['forgetting'])}, backward transfer "
        f"{_figure(summary['backward_transfer'], '+.3f')}."
    )
    a_round = _size(summary["bytes_up_per_site_round"])
    yield f"Sent by each site in a round: {a_round}; in all {sent}"


def _listed(experiences: list[int], count: int) -> str:
    """Return 0-based experiences as a person counts them: "1, 3", or "all"."""
    if len(experiences) == count:
        return "all"
    return ", ".join(str(experience + 1) for experience in experiences)


@contextmanager
def following(path: Path, view: RunView) -> Iterator[None]:
    """Show each line that is appended to `path` while the block runs, and the rest at its end."""
    stop = threading.Event()
    began = time.time() - 0.001  # times in the file are rounded to milliseconds
    thread = threading.Thread(target=_follow, args=(path, view, stop, began), daemon=True)
    with view.bar:
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _follow(path: Path, view: RunView, stop: threading.Event, began: float) -> None:
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
            view.show(event)
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


def _mean(row: list[float | None]) -> float | None:
    defined = [value for value in row if value is not None]
    return sum(defined) / len(defined) if defined else None


def _figure(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
