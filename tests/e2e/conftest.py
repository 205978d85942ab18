"""Real processes: each marked by its environment, so that none is left behind unseen."""

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedretune.cli.processes import alive
from tests.cli.tiny import Tiny, make_tiny

SCRIPTS = Path(sys.executable).parent
#: Seconds after which a test gives up waiting for a line or an end.
PATIENCE = 150.0


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@dataclass
class Started:
    """A process under way, the lines of its stderr so far, and the mark of all below it."""

    process: "subprocess.Popen[str]"
    lines: list[str]
    mark: str
    reader: threading.Thread

    def wait_for(self, words: str) -> None:
        """Wait until a line of stderr holds `words`."""
        deadline = time.monotonic() + PATIENCE
        while not any(words in line for line in list(self.lines)):
            assert self.process.poll() is None, "".join(self.lines)
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code, and stderr with every run of blanks as one."""
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code, " ".join("".join(self.lines).split())

    def left_behind(self) -> list[int]:
        """Return the processes that were started below this one and have not ended."""
        return marked(self.mark)


def marked(mark: str) -> list[int]:
    """Return the living processes that have `mark` in their environment."""
    found = []
    for process, _, _ in alive():
        with suppress(OSError):
            if mark.encode() in Path(f"/proc/{process}/environ").read_bytes():
                found.append(process)
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start a command of this environment: its own process group, and a mark for all below it."""
    if not Path("/proc/self/environ").is_file():
        pytest.skip("needs /proc to see which processes are left")
    marks = []

    def begin(command: str, *arguments: object, **environment: str) -> Started:
        marks.append(f"FEDRETUNE_TEST_MARK={uuid.uuid4().hex}")
        name, _, value = marks[-1].partition("=")
        process = subprocess.Popen(
            [str(SCRIPTS / command), *map(str, arguments)],
            env={**os.environ, "OMP_NUM_THREADS": "1", name: value, **environment},
            stdout=(tmp_path / "stdout").open("w"),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        lines: list[str] = []
        reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
        reader.start()
        return Started(process, lines, marks[-1], reader)

    yield begin
    for mark in marks:  # a test that failed leaves nothing either
        for process in marked(mark):
            with suppress(ProcessLookupError):
                os.kill(process, 9)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def way_out() -> Iterator[tuple[dict[str, str], list[bytes]]]:
    """Give an environment whose only way out is a proxy that refuses, and what was asked of it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = listener.accept()
                    with caller:
                        asked.append(caller.recv(200))

        threading.Thread(target=refuse, daemon=True).start()
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        environment = {each: proxy for name in names for each in (name, name.lower())}
        local = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
        yield {**environment, **local}, asked
