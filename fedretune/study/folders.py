"""What of a study is there: its run folders, read and never written."""

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from fedretune.errors import UserError

#: `new`: there is nothing that a run could go on from.
State = Literal["new", "begun", "done"]
Differences = Callable[[Path, Mapping[str, Any]], str]


def state_of(run: Path, config: Mapping[str, Any], differences_from: Differences) -> State:
    """Return how far the run in a folder has come.

    Parameters
    ----------
    run : Path
    config : mapping
        What the run is to be, as flat keys.
    differences_from : callable (run, config) -> str
        Says in what the run's config is another one; nothing where it is the same.

    Raises
    ------
    UserError
        The folder holds a run of another config.
    """
    if not (run / "config.toml").is_file():
        return "new"
    if differences := differences_from(run, config):
        raise UserError(
            f"{run} holds a run of another config: {differences}. Choose another --out for this "
            "study, or give the options that it was begun with."
        )
    return "done" if read_summary(run).get("status") == "complete" else "begun"


def read_config(run: Path) -> dict[str, Any]:
    """Return the tables of a run's ``config.toml``."""
    return tomllib.loads((run / "config.toml").read_text())


def read_summary(run: Path) -> dict[str, Any]:
    """Return a run's ``summary.json``; empty where it has not come to its end."""
    path = run / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return summary


def trained_parameters(config: Any, data: Mapping[str, Any]) -> int:
    """Return how many numbers a run trains, from its `RunConfig` and its table ``data``."""
    spec = config.spec(data["dim"], len(data["findings"]), tuple(data.get("trunk", ())))
    return sum(math.prod(shape) for shape, _ in spec.tensors().values())
