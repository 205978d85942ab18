"""Shorter pauses for Flower's SuperNode while there is work; see ``bin/flower-supernode``."""

import time
from typing import Any

#: Seconds: between looks at its own ClientApp; for the server's next message at first, and how
#: much longer each time, so that an idle site looks as seldom as Flower has it.
OWN, FIRST, LONGER = 0.1, 0.2, 1.15
#: Looks after which a pause is as long as it gets, whatever was asked for.
MOST_LOOKS = 100


class Pauses:
    """The module `time` as SuperNode's loop is to see it."""

    def __init__(self) -> None:
        self._idle = 0

    def sleep(self, seconds: float) -> None:
        """Sleep no longer than was asked for, and less while there is work."""
        if seconds < 1:  # for its own ClientApp: there is work
            self._idle = 0
            time.sleep(min(seconds, OWN))
        else:
            time.sleep(min(seconds, FIRST * LONGER**self._idle))
            self._idle = min(self._idle + 1, MOST_LOOKS)

    def __getattr__(self, name: str) -> Any:
        """Return all else as the module has it."""
        return getattr(time, name)
