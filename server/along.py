"""The mean along the stream: what several experiences agree on, rather than what the last says."""

from collections.abc import Collection, Sequence

import numpy as np

from fedretune.wire import Array
from server.models import GLOBAL, KEPT, Models, adaptors_of

#: Before the name of an adaptor's owner: the adaptor with which the experience began.
_START = f"{KEPT}start/"


def begun(models: Models) -> Models:
    """Return the models with what each begins an experience with beside it."""
    starts = {_START + owner: arrays for owner, arrays in adaptors_of(models).items()}
    return {**models, **starts}


def settled(
    models: Models, by_finding: Collection[str], taught: Sequence[Collection[int]], findings: int
) -> Models:
    """Return the models at the end of an experience, as means along the stream.

    A tensor becomes the mean of its values at the ends of all experiences so far; each row of a
    tensor whose rows belong to findings, the mean over those experiences that taught its finding.
    As ``(k start + end) / (k + 1)``, k the experiences before, so that nothing else is kept.

    Parameters
    ----------
    models : Models
        Made by `begun`, and trained since.
    by_finding : Collection[str]
        Names of the tensors whose first axis is the findings.
    taught : Sequence[Collection[int]]
        For each experience so far, the last one this, the positions of the findings taught.
    findings : int
    """
    counts = np.array([sum(f in each for each in taught[:-1]) for f in range(findings)], float)
    now = np.array([f in taught[-1] for f in range(findings)])
    means = {owner: arrays for owner, arrays in models.items() if not owner.startswith(_START)}
    for owner, end in adaptors_of(models).items():
        # A site that has come to an adaptor of its own since began with the global one.
        start = models.get(_START + owner, models[_START + GLOBAL])
        means[owner] = {
            name: _by_row(start[name], end[name], counts, now)
            if name in by_finding
            else _mean(start[name], end[name], float(len(taught) - 1))
            for name in end
        }
    return means


def _by_row(start: Array, end: Array, counts: Array, now: Array) -> Array:
    shape = (-1, *[1] * (end.ndim - 1))
    return np.where(now.reshape(shape), _mean(start, end, counts.reshape(shape)), end)


def _mean(start: Array, end: Array, before: Array | float) -> Array:
    mean = (before * start.astype(np.float64) + end.astype(np.float64)) / (before + 1)
    cast: Array = mean.astype(end.dtype)
    return cast
