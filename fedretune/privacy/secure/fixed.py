"""Whole numbers in the place of an update and of counts, so that sums are exact.

A site's vector of a training round is, each multiplied by its examples n: what it changed in every
number of the adaptor, cut to ``-clip .. clip`` and rounded to multiples of 2^-24; its loss; n
itself. Where averaging goes by positives, also, for each tensor whose rows are findings, its change
times the row's positives, and the positives. Last, how many numbers were cut.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedretune.privacy.secure.ring import Ring
from fedretune.wire import Array

#: Binary digits behind the point.
FRACTION = 24
#: A loss above it counts as it: no mean of binary cross-entropies of finite logits comes near.
MOST_LOSS = 100.0

Numbers = NDArray[np.int64]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class UpdateSum:
    """What the sum of the sites' vectors of a training round says.

    Parameters
    ----------
    adaptor : mapping of name to float64 array
        The weighted mean; rows of findings by positives, where that is wanted and there are any.
    examples : int
    positives : int64 array [F], or None
    loss : float
        The weighted mean.
    clipped : int
        How many numbers were cut, at all sites.
    """

    adaptor: Mapping[str, NDArray[np.float64]]
    examples: int
    positives: Numbers | None
    loss: float
    clipped: int


@dataclass(frozen=True)
class UpdateCode:
    """How a site's update becomes a vector of whole numbers, and a sum of vectors an update again.

    Parameters
    ----------
    shapes : mapping of name to shape
        The adaptor's tensors, in their order.
    clip : float
        The most that a number of the adaptor may change in a round.
    by_finding : tuple of str (default: none)
        Tensors whose rows are also weighted by positives.
    findings : int (default: 0)
        How many positives are told; 0 for none.
    """

    shapes: Shapes
    clip: float
    by_finding: tuple[str, ...] = ()
    findings: int = 0

    @property
    def most(self) -> int:
        """The largest of one example's numbers."""
        return int(np.ceil(self.clip * 2**FRACTION))

    @property
    def numbers(self) -> int:
        """How many numbers a vector has."""
        tensors = [*self.shapes, *self._rows]
        return sum(_size(self.shapes[name]) for name in tensors) + self.findings + 3

    def ring(self, examples: int, sites: int) -> Ring:
        """Return a ring in which no sum over so many examples and sites can wrap."""
        return Ring.holding(max(examples * self.most, sites * self.numbers))

    def encode(
        self,
        start: Mapping[str, Array],
        trained: Mapping[str, Array],
        examples: int,
        loss: float,
        positives: Array | None = None,
    ) -> Numbers:
        """Return a site's vector, int64 ``[numbers]``.

        Parameters
        ----------
        start, trained : mapping of name to array
            The adaptor as it came, and as it was trained.
        examples : int
        loss : float
        positives : array [findings], where there are `findings`
        """
        changes, clipped = self._changes(start, trained)
        whole = np.int64(examples)
        parts = [changes[name].ravel() * whole for name in self.shapes]
        if positives is not None and self.findings:
            rows = positives.astype(np.int64)
            parts += [(changes[name].reshape(len(rows), -1).T * rows).T for name in self._rows]
            parts.append(rows)
        told = round(min(max(loss, 0.0), MOST_LOSS) / MOST_LOSS * self.most)
        parts.append(np.array([told * examples, examples, clipped], np.int64))
        return np.concatenate([part.ravel() for part in parts])

    def decode(self, total: Numbers, start: Mapping[str, Array], most: int) -> UpdateSum:
        """Return what a sum of vectors says of an adaptor that was `start`.

        Parameters
        ----------
        total : int64 array [numbers]
        start : mapping of name to array
        most : int
            Examples that all sites together may have: with more, any noise would be a sum.

        Raises
        ------
        ValueError
            No vectors of sites that keep to the code have this sum.
        """
        loss, examples, clipped = (int(each) for each in total[-3:])
        self._check(total, examples, loss, most)
        sizes = [_size(self.shapes[name]) for name in (*self.shapes, *self._rows)]
        pieces = np.split(total[:-3], np.cumsum([*sizes, self.findings])[:-1])
        sums = dict(zip(self.shapes, pieces, strict=False))
        mean = {name: _mean(sums[name], examples, self.shapes[name]) for name in self.shapes}
        positives = pieces[-1] if self.findings else None
        if positives is not None:
            for name, piece in zip(self._rows, pieces[len(self.shapes) :], strict=False):
                mean[name] = _by_row(piece, positives, mean[name])
        adaptor = {name: start[name].astype(np.float64) + mean[name] for name in self.shapes}
        told = loss / examples / self.most * MOST_LOSS
        return UpdateSum(adaptor, examples, positives, told, clipped)

    @property
    def _rows(self) -> tuple[str, ...]:
        return self.by_finding if self.findings else ()

    def _changes(
        self, start: Mapping[str, Array], trained: Mapping[str, Array]
    ) -> tuple[dict[str, Numbers], int]:
        changes, clipped = {}, 0
        for name in self.shapes:
            change = trained[name].astype(np.float64) - start[name]
            clipped += int((np.abs(change) > self.clip).sum())
            kept = np.clip(change, -self.clip, self.clip)
            changes[name] = np.rint(kept * 2**FRACTION).astype(np.int64)
        return changes, clipped

    def _check(self, total: Numbers, examples: int, loss: int, most: int) -> None:
        if not 0 < examples <= most:
            raise ValueError(f"a sum of {examples} examples, and there are at most {most}")
        if np.abs(total[:-2]).max() > examples * self.most or loss < 0:
            raise ValueError("a sum that no updates within secure-clip have")
        positives = total[len(total) - 3 - self.findings : -3]
        if self.findings and not (0 <= positives.min() <= positives.max() <= examples):
            raise ValueError("a sum with more positives than examples")


def counts_ring(examples: int) -> Ring:
    """Return a ring in which no sum of histograms of so many examples can wrap."""
    return Ring.holding(examples)


def encode_counts(counts: Array, examples: int) -> Numbers:
    """Return a site's histogram as a vector: no cell has more than the site has examples."""
    return np.minimum(counts.astype(np.int64).ravel(), examples)


def decode_counts(total: Numbers, shape: Iterable[int], examples: int) -> Numbers:
    """Return the sum of the sites' histograms.

    Raises
    ------
    ValueError
        No histograms of so many examples have this sum.
    """
    if total.min() < 0 or total.max() > examples:
        raise ValueError(f"a sum of histograms that no {examples} examples have")
    return total.reshape(tuple(shape))


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _mean(total: Numbers, examples: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = (total / float(examples) / 2**FRACTION).reshape(shape)
    return mean


def _by_row(total: Numbers, positives: Numbers, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows weighted by positives; where nobody has one, the mean."""
    rows = positives.reshape(-1, *[1] * (mean.ndim - 1))
    by_row = total.reshape(mean.shape) / np.maximum(rows, 1) / 2**FRACTION
    found: NDArray[np.float64] = np.where(rows > 0, by_row, mean)
    return found
