"""``python -m fedretune.cli.kept COMMAND...``: a command that ends with whoever started it.

However that one ends: its end of our stdin closes then, also by a kill. A command that outlived it
would serve a run that nobody waits for, and hold its folder.
"""

import os
import subprocess
import sys
import threading

from fedretune.cli.processes import end

#: Seconds that the command, with all that it started, has to end by itself.
PATIENCE = 5.0


def kept(command: list[str]) -> list[str]:
    """Return the command that runs `command` so; give it a pipe as stdin, and hold on to that."""
    # -P: where a person works may be a folder that has a fedretune in it.
    return [sys.executable, "-P", "-m", "fedretune.cli.kept", *command]


def main(command: list[str]) -> int:
    """Run a command until it ends, or nobody holds the other end of stdin. Return its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    alone = threading.Event()
    watcher = threading.Thread(target=_end_alone, args=(child, alone), daemon=True)
    watcher.start()
    code = child.wait()
    if alone.is_set():  # what the command started has not ended with it
        watcher.join()
    return code


def _end_alone(child: "subprocess.Popen[bytes]", alone: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    alone.set()
    end(child, PATIENCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
