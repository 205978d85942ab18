"""Work in a process of its own, whose memory is free again when it is done."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from fedretune.errors import UserError

Result = TypeVar("Result")


def apart(work: Callable[..., Result], *arguments: Any) -> Result:
    """Return ``work(*arguments)``, computed by a fresh process.

    An interruption here ends that process. All that goes in and comes out must be picklable.

    Raises
    ------
    UserError
        What `work` raises, or that its process ended without a result.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"The preparing process ended early (exit code {process.exitcode}): is there enough "
            "memory? What it has stored is kept."
        ) from None
    finally:
        process.terminate()
        process.join()
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _child(sender: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches both processes; the parent's answer to it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sender.send((work(*arguments), None))
    except UserError as error:
        sender.send((None, error))
