"""What a compression is, and the way of an update through it and back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.adaptors import Spec

Vector = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]


class UnsoundError(ValueError):
    """An update that cannot be encoded, or one that no `Compression.encode` can have made."""


@dataclass(frozen=True)
class Compression(ABC):
    """How the update of an adaptor is encoded.

    An update is one vector, ``[N]``, of what was changed in all the adaptor's tensors, one after
    the other as `Spec.tensors` lists them.

    Parameters
    ----------
    adaptor : Spec
    share : float
        Of the values, how many are sent, from above 0 to 1; where all are, it is not read.
    """

    adaptor: Spec
    share: float

    @abstractmethod
    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return name to (shape, dtype) of what `encode` returns: all that leaves a site."""

    @abstractmethod
    def encode(self, update: Vector) -> dict[str, NDArray[Any]]:
        """Return a finite update ``[N]`` in fewer bytes."""

    @abstractmethod
    def decode(self, encoded: Arrays) -> Vector:
        """Return the update ``[N]`` that arrays of `tensors`' shapes and dtypes stand for.

        Raises
        ------
        UnsoundError
            `encode` returns no such arrays.
        """

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many values each of the adaptor's tensors has, by name, in their order."""
        return {name: int(np.prod(shape)) for name, (shape, _) in self.adaptor.tensors().items()}

    @property
    def length(self) -> int:
        """N, the number of values of an update."""
        return sum(self.sizes.values())

    def compress(
        self, start: Arrays, trained: Arrays, residual: Vector | None
    ) -> tuple[dict[str, NDArray[Any]], Vector]:
        """Return a site's encoded update, and the residual that its next one must make good.

        Parameters
        ----------
        start, trained : mapping of name to float32 array
            The adaptor as the site received it, and as it trained it.
        residual : float32 array [N] or None
            What the site's last update left unsent; None if there was none.

        Raises
        ------
        UnsoundError
            The update is not finite: nothing should be sent, or remembered.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            update = self._joined(trained) - self._joined(start)
            if residual is not None:
                update += residual
        if not np.isfinite(update).all():
            raise UnsoundError("the update has values that are not finite")
        encoded = self.encode(update)
        return encoded, update - self.decode(encoded)

    def restore(self, start: Arrays, encoded: Arrays) -> dict[str, NDArray[Any]]:
        """Return the adaptor that a site's encoded update makes of the one it was sent.

        Raises
        ------
        UnsoundError
            No sound update: not one that `encode` returns, or one that leads to values that are
            not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            moved = self._joined(start) + self.decode(encoded)
        if not np.isfinite(moved).all():
            raise UnsoundError("the update leads to values that are not finite")
        return {name: part.reshape(start[name].shape) for name, part in self.split(moved).items()}

    def split(self, update: Vector) -> dict[str, Vector]:
        """Return each tensor's part of an update, by name: views."""
        parts = np.split(update, np.cumsum(list(self.sizes.values()))[:-1])
        return dict(zip(self.sizes, parts, strict=True))

    def _joined(self, arrays: Arrays) -> Vector:
        return np.concatenate([arrays[name].ravel() for name in self.sizes])
