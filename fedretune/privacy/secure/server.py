"""The server's side of one secure sum: it adds masked vectors up, then takes the masks off."""

from collections.abc import Collection, Mapping

import numpy as np

from fedretune.privacy.secure.masks import (
    SEED,
    agreed,
    pair_mask,
    private_key,
    public_key,
    self_mask,
)
from fedretune.privacy.secure.ring import Elements, Ring
from fedretune.privacy.secure.sharing import Combiner
from fedretune.privacy.secure.site import PublicKeys, mask_purpose
from fedretune.wire import Array


class UnmaskingError(ValueError):
    """The masks cannot be taken off: there are too few shares, or wrong ones."""


def checked_keys(mask: str, seal: str, others: Collection[PublicKeys]) -> PublicKeys:
    """Return a site's keys, from hexadecimal digits.

    A sum with keys that are of no use is refused by every other site: without who told them it
    goes on.

    Raises
    ------
    ValueError
        They are no keys, or another site's.
    """
    try:
        keys = PublicKeys(bytes.fromhex(mask), bytes.fromhex(seal))
        for key in keys:
            agreed(private_key(bytes(SEED)), key, b"check")
    except ValueError as error:
        raise ValueError("its public keys are no keys") from error
    if keys.mask == keys.seal or {*keys} & {key for each in others for key in each}:
        raise ValueError("its public keys are not its own")
    return keys


class MaskedSum:
    """The sum of the vectors of those that sent one, under masks until `unmasked`.

    Parameters
    ----------
    about : str
        What is summed; see `Session`.
    keys : mapping of site to PublicKeys
        Of all that have shares.
    senders : collection of str
        Those whose boxes were passed on: whose masks are in each vector.
    threshold : int
    count : int
        Numbers of a vector.
    ring : Ring
    """

    def __init__(
        self,
        about: str,
        keys: Mapping[str, PublicKeys],
        senders: Collection[str],
        threshold: int,
        count: int,
        ring: Ring,
    ) -> None:
        self._about, self._keys, self._threshold = about, keys, threshold
        self._senders, self._ring = sorted(senders), ring
        self._places = {site: place for place, site in enumerate(sorted(keys))}
        self._sum: Elements = np.zeros(count, np.uint64)
        self.survivors: list[str] = []

    def add(self, site: str, packed: Array) -> None:
        """Add a site's masked vector, bytes ``[n, width]``."""
        self._sum += self._ring.unpack(packed)
        self.survivors.append(site)

    def unmasked(self, told: Mapping[str, Mapping[str, bytes]]) -> Elements:
        """Return the sum of the survivors' vectors.

        Parameters
        ----------
        told : mapping of site to mapping of owner to share
            What survivors told; see `fedretune.privacy.secure.site.told`.

        Raises
        ------
        UnmaskingError
            Fewer than the threshold told, or what they told does not fit.
        """
        if len(told) < self._threshold:
            raise UnmaskingError(f"{len(told)} sites told their shares, of {self._threshold}")
        total, count = self._sum.copy(), len(self._sum)
        tellers = sorted(told)[: self._threshold]
        combiner = Combiner([self._places[teller] for teller in tellers])
        for owner in self._senders:
            seed = combiner.secret({self._places[each]: told[each][owner] for each in tellers})
            if owner in self.survivors:
                total -= self_mask(seed, count)
            else:
                total -= self._left_over(owner, seed)
        return total

    def _left_over(self, owner: str, seed: bytes) -> Elements:
        """Return what masks with one that dropped out leave in the sum of the survivors."""
        private = private_key(seed)
        if public_key(private) != self._keys[owner].mask:
            raise UnmaskingError(f"the shares of {owner}'s key do not fit")
        total: Elements = np.zeros(len(self._sum), np.uint64)
        for site in self.survivors:
            key = agreed(private, self._keys[site].mask, mask_purpose(self._about))
            mask = pair_mask(key, len(self._sum))
            total = total + mask if owner > site else total - mask
        return total
