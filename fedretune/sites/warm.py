"""A process that has the imports behind it, and forks another for each script that is to run.

Flower starts a new ClientApp process for each message, and most of its time goes into importing
torch. So `start.sh` also starts this: ``python -m fedretune.sites.warm SOCKET MODULE...``. It
imports the modules, nothing of the server's bundle, and waits at a Unix socket in the site's own
folder. ``bin/flwr-clientapp`` hands its arguments, environment, folder and open files over and
waits for the exit code; where nobody is at the socket it runs by itself.

Only one thread runs here, so that a fork has all that there is. A caller that goes away takes its
process with it, and this process ends with the one that started it.
"""

import atexit
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

#: What a caller sends beside its open files: the length of what follows, then JSON.
LENGTH = struct.Struct("!I")
#: Longest that may follow: argument and environment lists are far shorter.
MOST = 2**22
#: Seconds between two looks at whether the parent is still there.
LOOK = 1.0
#: Seconds that a caller has to say what it wants.
HURRY = 10.0


@dataclass
class Warm:
    """The process; see the module.

    Parameters
    ----------
    path : Path
        Of the socket; whoever may write to it may run scripts as this user, so its mode is 600.
    parent : int
        The process to end with.
    """

    path: Path
    parent: int
    _children: dict[int, socket.socket] = field(default_factory=dict)

    def serve(self) -> "Request | None":
        """Answer callers until the parent is gone.

        Returns
        -------
        In each forked process what its caller wants; here, at the end, None.

        Raises
        ------
        OSError
            The socket cannot be made.
        """
        with _listening(self.path) as listener, selectors.DefaultSelector() as waiting:
            waiting.register(listener, selectors.EVENT_READ)
            waiting.register(_woken_by_children(), selectors.EVENT_READ)
            while os.getppid() == self.parent:
                for key, _ in waiting.select(LOOK):
                    request = self._answer(key.fileobj, listener, waiting)
                    if request is not None:
                        return request
                self._reap(waiting)
        self.path.unlink(missing_ok=True)
        return None

    def _answer(
        self, ready: object, listener: socket.socket, waiting: selectors.BaseSelector
    ) -> "Request | None":
        """Do what is to be done at a file that can be read; in a forked process, return why."""
        if ready is listener:
            return self._begin(listener.accept()[0], waiting)
        if isinstance(ready, int):
            os.read(ready, 4096)
            return None
        waiting.unregister(ready)  # type: ignore[arg-type]
        for child, caller in self._children.items():  # which says nothing more: it has gone
            if caller is ready:
                os.kill(child, signal.SIGTERM)  # not reaped yet, so it is still the same process
        return None

    def _begin(self, caller: socket.socket, waiting: selectors.BaseSelector) -> "Request | None":
        try:
            request = _receive(caller)
        except (OSError, ValueError):
            caller.close()
            return None
        child = os.fork()
        if not child:
            for other in (caller, *self._children.values()):
                other.close()
            return request
        for file in request.files:
            os.close(file)
        self._children[child] = caller
        waiting.register(caller, selectors.EVENT_READ)
        return None

    def _reap(self, waiting: selectors.BaseSelector) -> None:
        """Tell the callers whose processes have ended how they did."""
        for child in list(self._children):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                caller = self._children.pop(child)
                with suppress(OSError):
                    caller.sendall(LENGTH.pack(os.waitstatus_to_exitcode(status) & 0xFF))
                with suppress(KeyError):
                    waiting.unregister(caller)
                caller.close()


@dataclass(frozen=True)
class Request:
    """What a caller wants: a script with its arguments, run as it would run it itself."""

    words: list[str]
    environment: dict[str, str]
    folder: str
    files: list[int]

    def become(self) -> None:
        """Run the script in this process. Raises what it raises, `SystemExit` at its end."""
        for standard, file in enumerate(self.files):
            os.dup2(file, standard)
            os.close(file)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.argv = self.words
        runpy.run_path(sys.argv[0], run_name="__main__")
        raise SystemExit(0)


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Give a socket at a path, which only this user may write to."""
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(64)
        yield listener


def _woken_by_children() -> int:
    """Return a file that can be read when a child has ended."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def _receive(caller: socket.socket) -> Request:
    """Return what a caller wants. Raises `OSError` or `ValueError` if that cannot be read."""
    caller.settimeout(HURRY)
    head, files, _, _ = socket.recv_fds(caller, LENGTH.size, 3)
    try:
        if len(head) != LENGTH.size or len(files) != 3 or LENGTH.unpack(head)[0] > MOST:
            raise ValueError("that is no request")
        told = b""
        while len(told) < LENGTH.unpack(head)[0]:
            more = caller.recv(MOST)
            if not more:
                raise ValueError("the caller has gone")
            told += more
        caller.settimeout(None)
        return Request(**json.loads(told), files=files)
    except (OSError, ValueError, TypeError) as error:
        for file in files:
            os.close(file)
        raise ValueError(str(error)) from error


def _end_at_once(request: Request) -> None:
    """Run a script, and end without taking apart all that was imported, which takes longer."""
    code = 1
    try:
        request.become()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def main(words: Sequence[str]) -> None:
    """Import the modules, then serve at the socket."""
    path, *modules = words
    parent = os.getppid()  # before the imports, in the midst of which it may end
    for module in modules:
        import_module(module)
    request = Warm(Path(path), parent).serve()
    if request is not None:
        _end_at_once(request)


if __name__ == "__main__":
    main(sys.argv[1:])
