"""The global adaptor on its way to the sites: whole, or as updates of one that a site holds.

What a site holds is read from ``sites.csv`` alone: it has the adaptor that the last round began
with which it trained in. So a resumed run sends the same bytes as one that never stopped.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from fedretune.adaptors import Spec
from fedretune.compression import Compression, UnsoundError
from fedretune.compression.chain import (
    FIRST,
    OTHER_BASE,
    UPDATE,
    Held,
    fingerprint,
    first_adaptor,
)
from fedretune.errors import UserError
from fedretune.wire import Array, Value
from scenarios import RunConfig
from server.models import GLOBAL, KEPT, Models
from server.steps import Step
from server.strategies import Arrays

#: Before the name of an encoded update: the experience and the round that made it.
_CHAIN = f"{KEPT}down/"
#: What the last encoding left unsent, and the last update that is kept no more.
_LEFT = f"{KEPT}down-left"
#: The fingerprint of the adaptor that an update is of, in its place among the update's arrays.
_OF = "of"


class Holdings:
    """Which global adaptor each site holds: a fold over what ``sites.csv`` says."""

    def __init__(self) -> None:
        self._held: dict[str, Held | None] = {}

    def note(self, site: str, where: Held, status: str, reason: str) -> None:
        """Take in a row of ``sites.csv``, in the order of the rows."""
        if status == "trained":
            self._held[site] = where
        elif status == "refused" and OTHER_BASE in reason:
            self._held[site] = None

    def of(self, site: str) -> Held | None:
        """Return where a site came to what it holds; None where that is not known."""
        return self._held.get(site, FIRST)


@dataclass(frozen=True)
class Parcel:
    """What a site is sent in the place of the adaptor: the updates of the one that it holds.

    Parameters
    ----------
    arrays : mapping of record to name to array
        Each update's.
    told : mapping of key to value
        What they are of, and what they lead to.
    """

    arrays: Mapping[str, Arrays]
    told: Mapping[str, Value]


@dataclass(frozen=True)
class Down:
    """How the global adaptor is sent.

    Parameters
    ----------
    compression : Compression
    first : str
        The fingerprint of the adaptor that the run begins with.
    held : callable (site) -> Held | None
        What a site holds; None where it must be sent the whole adaptor.
    """

    compression: Compression
    first: str
    held: Callable[[str], Held | None]

    def encoded(self, before: Models, after: Models, step: Step) -> Models:
        """Return the models after a round, their global adaptor as sites will come to it.

        The updates that are kept take together no more bytes than the whole adaptor.

        Raises
        ------
        UserError
            The round led to values that are not finite.
        """
        left = before.get(_LEFT, {})
        try:
            with _one_thread():
                update, residual = self.compression.compress(
                    before[GLOBAL], after[GLOBAL], left.get("residual")
                )
            adaptor = self.compression.restore(before[GLOBAL], update)
        except UnsoundError as error:
            raise UserError(
                f"The global adaptor cannot be encoded (experience {step.experience}, round "
                f"{step.round}): {error}. Train with a smaller train.lr, or set "
                "compression-down = none."
            ) from error
        of = np.frombuffer(bytes.fromhex(self._now(before)), np.uint8)
        name = f"{_CHAIN}{step.experience:04}-{step.round:05}"
        chain = {**_chain(after), name: {**update, _OF: of}}
        dropped = left.get("dropped", np.array([-2, -2], np.int64))
        while len(chain) > 1 and _bytes(chain) > 4 * self.compression.length:
            oldest = min(chain)
            dropped = np.array(_where(oldest), np.int64)
            del chain[oldest]
        others = {key: arrays for key, arrays in after.items() if not key.startswith(_CHAIN)}
        kept = {_LEFT: {"residual": residual, "dropped": dropped}}
        return {**others, **chain, **kept, GLOBAL: adaptor}

    def followed_from(self, models: Models, site: str) -> Held | None:
        """Return from where a site is sent updates; None where it is sent the whole adaptor."""
        held = self.held(site)
        if held is None or held <= tuple(models.get(_LEFT, {}).get("dropped", (-2, -2))):
            return None
        return held

    def parcel(self, models: Models, held: Held) -> Parcel:
        """Return the updates for all sites that are sent them from the same place on."""
        since = [arrays for name, arrays in sorted(_chain(models).items()) if _where(name) >= held]
        now = self._now(models)
        told: dict[str, Value] = {
            "experience": held[0],
            "round": held[1],
            "adaptor": bytes(since[0][_OF]).hex() if since else now,
            "result": now,
        }
        updates = {f"{UPDATE}{number}": _without_base(each) for number, each in enumerate(since, 1)}
        return Parcel(updates, told)

    def _now(self, models: Models) -> str:
        return fingerprint(models[GLOBAL])


def down_of(
    config: RunConfig, spec: Spec, holds: Callable[[str], tuple[Held | None, str]]
) -> Down | None:
    """Return how a run sends its global adaptor; None where it is always sent whole.

    `holds` says of a site what it holds, and the fingerprint of what it would begin with.
    """
    compression = config.compression_down_of(spec)
    if compression is None:
        return None
    first = fingerprint(first_adaptor(spec, config.seed))

    def held(site: str) -> Held | None:
        where, its_first = holds(site)
        return None if where == FIRST and its_first != first else where

    return Down(compression, first, held)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch's sums made by one thread, as at a site: several might change the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _chain(models: Models) -> dict[str, Arrays]:
    return {name: arrays for name, arrays in models.items() if name.startswith(_CHAIN)}


def _where(name: str) -> Held:
    experience, round_ = name.removeprefix(_CHAIN).split("-")
    return int(experience), int(round_)


def _bytes(chain: Models) -> int:
    return sum(array.nbytes for each in chain.values() for array in _without_base(each).values())


def _without_base(update: Arrays) -> dict[str, Array]:
    return {name: array for name, array in update.items() if name != _OF}
