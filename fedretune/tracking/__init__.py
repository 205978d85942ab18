"""Experiment trackers: what a run tells as it goes on, told to another program, too.

None unless it is named (`--track`). A tracker is a class with the three functions of `Tracker`;
another one is a file here and a line in `TRACKERS`. What it is told are pooled figures, losses,
bytes and the config: nothing of a site's own.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fedretune.registry import Registry

#: Each a class, made without arguments. Raises `UserError` where its package is missing.
TRACKERS = Registry(
    "tracker",
    {
        "tensorboard": "fedretune.tracking.tensorboard:TensorBoard",
        "mlflow": "fedretune.tracking.mlflow:MLflow",
    },
)


class Tracker(Protocol):
    """What is told of a run."""

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Begin the run in a folder, or go on with it after so many rounds."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take figures, by name, after so many rounds."""

    def end(self) -> None:
        """Nothing more comes; what was told is to be kept."""


class Tracking:
    """Tells a run's events to its trackers. One that fails is told no more; the run goes on.

    Parameters
    ----------
    trackers : iterable of Tracker
    run : Path
        The run folder.
    config : mapping
        The run's flat keys.
    say : callable (text)
        Told what failed.
    """

    def __init__(
        self,
        trackers: Iterable[Tracker],
        run: Path,
        config: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self._trackers = list(trackers)
        self._run = run
        self._config = config
        self._say = say

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take an event of ``metrics.jsonl``."""
        rounds = int(self._config["rounds"])
        if event["event"] == "start":
            done = rounds_done(event["step"], rounds)
            self._each(lambda tracker: tracker.begin(self._run, self._config, done))
        elif found := figures_of(event, rounds):
            self._each(lambda tracker: tracker.log(*found))

    def __enter__(self) -> "Tracking":
        """Do nothing yet: a tracker begins with the run's first event."""
        return self

    def __exit__(self, *_: object) -> None:
        """Have each tracker keep what it was told, however the run ended."""
        self._each(lambda tracker: tracker.end())

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                tell(tracker)
            except Exception as error:  # a tracker's server may be away, or full, or anything
                self._trackers.remove(tracker)
                self._say(f"{type(tracker).__name__} is told no more: {error}")


def trackers_of(names: Iterable[str]) -> list[Tracker]:
    """Return the trackers of these names. Raises `UserError` for a name or a package."""
    return [TRACKERS[name]() for name in dict.fromkeys(names)]


def figures_of(event: Mapping[str, Any], rounds: int) -> tuple[dict[str, float], int] | None:
    """Return an event's figures by name, and after how many rounds they are; None without any.

    Parameters
    ----------
    event : mapping
        Of ``metrics.jsonl``.
    rounds : int
        Rounds of an experience.
    """
    if event["event"] == "round":
        names = {"loss": "loss", "sites/in": "sites", "sites/asked": "asked"}
        names |= {"bytes/up": "bytes_up", "bytes/down": "bytes_down"}
        values = {name: float(event[key]) for name, key in names.items() if key in event}
        return values, event["experience"] * rounds + event["round"] + 1
    if event["event"] != "evaluation" or event["macro"] is None:
        return None
    kind = "zero-shot" if event["model"] == "zero-shot" else "auroc"
    values = {f"{kind}/pooled": float(event["macro"])}
    for number, value in enumerate(event["auroc"], start=1):
        if value is not None:
            values[f"{kind}/experience-{number}"] = float(value)
    return values, (event["after_experience"] + 1) * rounds


def rounds_done(step: int, rounds: int) -> int:
    """Return how many rounds are among a run's first `step` steps.

    Two evaluations come first; then each experience has its rounds and one evaluation.
    """
    experience, round_ = divmod(max(step - 2, 0), rounds + 1)
    return experience * rounds + round_
