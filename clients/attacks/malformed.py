"""Attacks whose replies are not sound, each in one way."""

from collections.abc import Callable

import numpy as np

from clients.attacks.answer import Answer, CrashError, Scene
from fedretune.wire import Array, Value


def filled_with(value: float) -> Callable[[Scene], list[Answer]]:
    """Return an attack that answers one value in the place of all weights."""

    def answer(scene: Scene) -> list[Answer]:
        tensors = {name: np.full_like(each, value) for name, each in scene.honest.adaptor.items()}
        return [scene.honest.with_adaptor(tensors)]

    return answer


def claiming(metric: str, value: Value) -> Callable[[Scene], list[Answer]]:
    """Return an attack that lies in one metric, such as how many examples there were."""
    return lambda scene: [scene.honest.with_metrics({metric: value})]


def with_first(change: Callable[[str, Array], dict[str, Array]]) -> Callable[[Scene], list[Answer]]:
    """Return an attack that puts what `change` makes in the place of the adaptor's first tensor."""

    def answer(scene: Scene) -> list[Answer]:
        (name, first), *others = scene.honest.adaptor.items()
        return [scene.honest.with_adaptor({**change(name, first), **dict(others)})]

    return answer


def extra_key(scene: Scene) -> list[Answer]:
    """Send one tensor more than the adaptor has."""
    return [scene.honest.with_adaptor({**scene.honest.adaptor, "extra": np.zeros(1, np.float32)})]


def stale(scene: Scene) -> list[Answer]:
    """Answer with the last round's position."""
    return claiming("round", int(str(scene.honest.scalars["metrics"]["round"])) - 1)(scene)


def duplicate(scene: Scene) -> list[Answer]:
    """Answer twice, to count twice."""
    return [scene.honest, scene.honest]


def empty(scene: Scene) -> list[Answer]:
    """Answer without anything in it."""
    return [Answer()]


def slow(scene: Scene) -> list[Answer]:
    """Answer too late: with the next round's answers."""
    return [Answer(scene.honest.arrays, scene.honest.scalars, late=True)]


def crash(scene: Scene) -> list[Answer]:
    """End while training."""
    raise CrashError("the attacker's process ended")
