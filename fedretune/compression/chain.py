"""The way down: a site comes to the global adaptor by updates of one that it holds.

The server encodes what a round changed, and what that decodes to *is* what the global adaptor
becomes; what the encoding loses it adds to the next update (DoubleSqueeze, Tang et al. 2019, arXiv
1905.05957). So whoever holds any earlier global adaptor, and has the updates since, has this one,
bit for bit. The first one a site makes itself, from the run's seed.
"""

import hashlib
from collections.abc import Sequence

from fedretune.adaptors import Spec, build, to_arrays
from fedretune.compression.base import Arrays, Compression, UnsoundError
from fedretune.seeds import derive_seed

#: Where an adaptor was held: the experience and the round that began with it.
Held = tuple[int, int]
#: Of the adaptor that the run begins with, which a site need not have been sent.
FIRST: Held = (-1, -1)
#: The config record that says what the updates of a message are of, and before what number each
#: update's record has its name.
BASE, UPDATE = "base", "update-"
#: What a site says that cannot follow: it is sent the whole adaptor the next time.
OTHER_BASE = "holds another adaptor than the update is for"

#: Digits of a fingerprint.
_DIGITS = 16


def first_adaptor(spec: Spec, seed: int) -> Arrays:
    """Return the float32 tensors, by name, that a run of this seed begins with."""
    return to_arrays(build(spec, derive_seed(seed, "adaptor")))


def fingerprint(adaptor: Arrays) -> str:
    """Return the first 16 hex digits of the SHA-256 of an adaptor's names and bytes."""
    found = hashlib.sha256()
    for name in sorted(adaptor):
        array = adaptor[name].astype("<f4", order="C", copy=False)
        found.update(f"{name} {array.shape}\n".encode() + array.tobytes())
    return found.hexdigest()[:_DIGITS]


def follow(
    compression: Compression, base: Arrays, updates: Sequence[Arrays], wanted: str
) -> Arrays:
    """Return the adaptor that encoded updates, one after the other, make of `base`.

    Parameters
    ----------
    compression : Compression
    base : mapping of name to float32 array
    updates : sequence of mappings of name to array
        As `Compression.encode` returns them; none at all: `base` is what is wanted.
    wanted : str
        The `fingerprint` that the adaptor must have.

    Returns
    -------
    Mapping of name to float32 array, read-only.

    Raises
    ------
    UnsoundError
        An update that `encode` does not return, or another adaptor than is wanted.
    """
    adaptor = dict(base)
    for update in updates:
        _check_spelling(compression, update)
        adaptor = compression.restore(adaptor, update)
    if fingerprint(adaptor) != wanted:
        raise UnsoundError("the updates lead to another adaptor than they should")
    for array in adaptor.values():
        array.flags.writeable = False
    return adaptor


def _check_spelling(compression: Compression, update: Arrays) -> None:
    found = {name: (array.shape, array.dtype.name) for name, array in update.items()}
    if found != compression.tensors():
        raise UnsoundError("the update has arrays of other names, shapes or dtypes than it must")
