"""What a person sees of a run: a line a round while it goes on, a table at its end."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

#: Seconds between two looks at the run folder.
POLL = 0.2

Event = Mapping[str, Any]


class RunView:
    """Prints a run's events to a console, one line each."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._experiences = self._rounds = 0
        self._zero_shot: float | None = None

    def show(self, event: Event) -> None:
        """Print one event of ``metrics.jsonl``."""
        handler = getattr(self, f"_show_{event['event']}", None)
        if handler:
            handler(event)

    def finish(self, summary: Mapping[str, Any], folder: Path) -> None:
        """Print the final table of a complete run."""
        self.console.print(final_table(summary))
        up, down = summary["bytes_up"], summary["bytes_down"]
        self.console.print(
            f"Forgetting {_figure(summary['forgetting'])}, backward transfer "
            f"{_figure(summary['backward_transfer'], '+.3f')}.  Sent by each site and round "
            f"{_size(summary['bytes_up_per_site_round'])}; in all {_size(up)} up, "
            f"{_size(down)} down.  {summary['wall_seconds']:.0f} s."
        )
        for finding, experiences in summary["undefined_findings"].items():
            shown = ", ".join(str(experience + 1) for experience in experiences)
            self.console.print(
                f"[yellow]No AUROC for {finding} in experience {shown}:[/] no positive or no "
                "negative there; left out of the means."
            )
        self.console.print(f"Run folder: {folder}", soft_wrap=True)

    def _show_start(self, event: Event) -> None:
        self._experiences, self._rounds = event["experiences"], event["rounds"]
        names = event["sites"]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        self.console.print(f"[bold]{len(names)} sites[/] ({shown})")

    def _show_round(self, event: Event) -> None:
        self.console.print(
            f"experience {event['experience'] + 1}/{self._experiences}  "
            f"round {event['round'] + 1}/{self._rounds}  "
            f"sites {event['sites']}/{event['asked']}  loss {event['loss']:.4f}"
        )

    def _show_evaluation(self, event: Event) -> None:
        macro = _figure(event["macro"])
        if event["model"] == "zero-shot":
            self.console.print(f"zero-shot: pooled AUROC {macro}")
        elif event["after_experience"] < 0:
            self.console.print(f"untrained adaptors: pooled AUROC {macro}")
        else:
            self.console.print(
                f"[bold]after experience {event['after_experience'] + 1}: pooled AUROC {macro}[/]"
            )

    def _show_site(self, event: Event) -> None:
        self.console.print(
            f"[yellow]{event['site']}: {event['status']}[/] ({event['reason']})", soft_wrap=True
        )


def final_table(summary: Mapping[str, Any]) -> Table:
    """Return the table of pooled macro AUROC on each experience after each experience."""
    table = Table(
        title="Pooled macro AUROC, scored by the difference",
        caption="Rows: when it was measured. Columns: on which experience's test images.",
    )
    table.add_column("after")
    for experience in range(summary["experiences"]):
        table.add_column(f"{experience + 1}", justify="right")
    table.add_column("mean", justify="right", style="bold")
    zero_shot = summary["zero_shot_by_experience"]
    table.add_row("zero-shot", *map(_figure, zero_shot), _figure(summary["zero_shot_auroc"]))
    for number, row in enumerate(summary["auroc_after_experience"], start=1):
        defined = [value for value in row if value is not None]
        mean = sum(defined) / len(defined) if defined else None
        table.add_row(f"experience {number}", *map(_figure, row), _figure(mean))
    return table


@contextmanager
def following(path: Path, view: RunView) -> Iterator[None]:
    """Show each line that is appended to `path` while the block runs, and the rest at its end."""
    stop = threading.Event()
    start = path.stat().st_size if path.is_file() else 0
    thread = threading.Thread(target=_follow, args=(path, view, stop, start), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _follow(path: Path, view: RunView, stop: threading.Event, start: int) -> None:
    position = start
    while True:
        last = stop.wait(POLL)
        if path.is_file():
            # A resumed run cuts the file back to its last checkpoint first.
            position = min(position, path.stat().st_size)
            with path.open("rb") as file:
                file.seek(position)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            position += len(whole)
            for line in whole.splitlines():
                view.show(json.loads(line))
        if last:
            return


@contextmanager
def embedding_bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Give a callback (done, total) that draws a bar on a terminal, and nothing elsewhere."""
    columns = (
        TextColumn("Encoding images, once"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", visible=False, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield show


def _figure(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
