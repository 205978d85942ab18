"""Running rows, each in a folder and with a cache of its own."""

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedretune.bench import ROWS, Options, Scale, chosen
from fedretune.bench.frame import Result, measure

_CACHE = "FEDRETUNE_CACHE"


def run_rows(
    names: Sequence[str], scale: Scale, backbone: str, app: Path | None
) -> Iterator[Result]:
    """Measure these rows, one after the other; yield each as it is done.

    Parameters
    ----------
    names : sequence of str
        Of `ROWS`; empty for all that `scale` does not leave out.
    scale : Scale
    backbone : str
    app : Path | None
        Where the Flower app is; None looks for it.

    Raises
    ------
    UserError
        A row is not known, before any is run; the faults of the backbone and of the app.
    """
    import torch

    threads = torch.get_num_threads()
    for name in chosen(names, scale):
        # The app sets the threads of its process, which is this one; the next row starts afresh.
        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory(prefix="fedretune-bench-") as folder:
            home = Path(folder)
            with cache_in(home / "cache"), _quiet():
                case = ROWS[name](Options(scale, backbone, app, home))
                result = measure(name, case, scale.repeats)
        torch.set_num_threads(threads)
        yield result


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Flower from telling each round of each run.

    By a filter, since Flower sets its logger's level when a row first imports it.
    """
    log = logging.getLogger("flwr")
    log.addFilter(_is_warning)
    try:
        yield
    finally:
        log.removeFilter(_is_warning)


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Let FedRETune, and the processes it starts, keep what they make in `folder` for a while."""
    before = os.environ.get(_CACHE)
    os.environ[_CACHE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CACHE]
        else:
            os.environ[_CACHE] = before
