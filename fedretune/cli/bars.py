"""Progress of what is made once and kept: a bar on a terminal, one plain line elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedretune.cli.console import say


@contextmanager
def bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a callback (done, total) that shows how far `what` has come, once there is any."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    with progress:
        task = progress.add_task(what, visible=False, total=None)
        told = False

        def show(done: int, total: int) -> None:
            nonlocal told
            if done < total and not told:
                told = True
                say(f"{what}: {total:,} images", console)
            progress.update(task, completed=done, total=total, visible=True)

        yield show
