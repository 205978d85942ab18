"""Many runs on all cores: each in one process, each process one after another.

Light at import, since every process begins here: what a run needs comes with the first run.
"""

import multiprocessing
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fedretune.errors import RunFailedError, UserError
from fedretune.workers import settle_in

#: Runs a resolved config to its end; must be picklable. Raises `UserError`.
Engine = Callable[[dict[str, Any]], None]
#: What a study runs, of whatever kind.
Cell = TypeVar("Cell")


def run_cells(
    configs: Mapping[Cell, dict[str, Any]],
    engine: Engine,
    jobs: int,
    warm_up: Callable[[], object],
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
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch and by NumPy when they are imported
    settle_in()
    warm_up()
