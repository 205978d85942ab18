"""Many runs on all cores: each in one process, each process one after another.

Light at import, since every process begins here: what a run needs comes with the first run.
"""

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from fedretune.errors import RunFailedError, UserError
from fedretune.study.plan import Cell

#: Runs a resolved config to its end; must be picklable. Raises `UserError`.
Engine = Callable[[dict[str, Any]], None]
Configs = Mapping[Cell, dict[str, Any]]


def run_cells(
    configs: Configs, engine: Engine, jobs: int, warm_up: Callable[[], object]
) -> Generator[tuple[Cell, str | None], None, None]:
    """Run each cell's config; yield it as it ends, with the reason if it failed.

    Leaving the iteration early ends the runs that are under way; their folders can be resumed.

    Parameters
    ----------
    configs : mapping of a cell to its flat config
    engine : callable (config)
    jobs : int
        How many at once.
    warm_up : callable ()
        Called once in each process, so that no run's seconds are those of imports; picklable.

    Raises
    ------
    RunFailedError
        A process was ended from outside.
    """
    with _processes(jobs, warm_up) as pool:
        cells = {pool.submit(_run, engine, config): cell for cell, config in configs.items()}
        for future in as_completed(cells):
            yield cells[future], _reason(future)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(engine: Engine, config: dict[str, Any]) -> str | None:
    """Run one config in this process, anew or from where its folder stands."""
    folder = Path(config["out"]) / config["name"]
    resume = (folder / "config.toml").is_file()
    if not resume and folder.is_dir():  # killed before it had written what it is
        shutil.rmtree(folder)
    try:
        engine({**config, "resume": resume})
    except UserError as error:
        return str(error)
    return None


def _reason(future: "Future[str | None]") -> str | None:
    try:
        return future.result()
    except BrokenProcessPool:
        raise RunFailedError(
            "A process of the study was ended from outside: is there enough memory? Use fewer "
            "--jobs; the same command goes on where it was."
        ) from None
    except Exception as error:  # a fault of one run must not lose the others
        return f"{type(error).__name__}: {error}"


@contextmanager
def _processes(jobs: int, warm_up: Callable[[], object]) -> Iterator[ProcessPoolExecutor]:
    """Give processes that end with the block, however it ends."""
    context = multiprocessing.get_context("spawn")  # safe beside torch's threads
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(warm_up,))
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(warm_up: Callable[[], object]) -> None:
    """Make this process a worker: one thread, deaf to the terminal, and gone with its parent."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch and by NumPy when they are imported
    for name in ("SIGINT", "SIGHUP"):  # the parent gets them too, and ends this one
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warm_up()


def _end_with_parent() -> None:
    """Wait until the parent is gone, also by a kill, and end: else two would write one folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
