"""Shares of a secret, and the boxes in which they travel past a server that must not see them."""

import os
from collections.abc import Collection, Mapping
from functools import reduce
from operator import xor

from Crypto.Protocol.SecretSharing import Shamir
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

#: Bytes of a share, and of the secret.
SHARE = 16
_NONCE = 12
#: Modulo which polynomial numbers of 128 bits are multiplied: that of the library.
_FIELD = 2**128 + 2**7 + 2**2 + 2 + 1
#: Bytes of a box of two shares: nonce, shares, tag.
BOX = _NONCE + 2 * SHARE + 16


def split(secret: bytes, threshold: int, holders: int) -> list[bytes]:
    """Return a share of 16 bytes for each holder; `threshold` of them tell it, fewer nothing.

    Shamir 1979, "How to share a secret", over GF(2^128).
    """
    return [share for _, share in Shamir.split(threshold, holders, secret, False)]


class Combiner:
    """Puts secrets together from the shares of the same holders, known by their places, from 0.

    ``secret = sum_j l_j share_j`` with ``l_j = prod_{m != j} x_m / (x_m + x_j)`` and x the places
    plus 1 (Lagrange). The library's own function works these out anew for each secret, which takes
    some ten seconds for 64 sites. From fewer shares than the threshold, or from wrong ones,
    something comes out that is not the secret.
    """

    def __init__(self, places: Collection[int]) -> None:
        points, self._factors = {place: place + 1 for place in places}, dict[int, int]()
        above = reduce(_times, points.values(), 1)
        for place, x in points.items():
            others = (m ^ x for m in points.values() if m != x)
            self._factors[place] = _times(above, _inverse(reduce(_times, others, x)))

    def secret(self, shares: Mapping[int, bytes]) -> bytes:
        """Return the secret of which these are the holders' shares."""
        parts = (
            _times(factor, int.from_bytes(shares[place], "big"))
            for place, factor in self._factors.items()
        )
        return reduce(xor, parts, 0).to_bytes(SHARE, "big")


def _times(a: int, b: int) -> int:
    """Return a product in GF(2^128); the quicker, the shorter b is."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a >> 128:
            a ^= _FIELD
        b >>= 1
    return product


def _inverse(a: int) -> int:
    """Return 1 / a, by Euclid's algorithm over polynomials."""
    u, v, g, h = a, _FIELD, 1, 0
    while u != 1:
        shift = u.bit_length() - v.bit_length()
        if shift < 0:
            u, v, g, h, shift = v, u, h, g, -shift
        u ^= v << shift
        g ^= h << shift
    return g


def sealed(key: bytes, content: bytes, about: bytes) -> bytes:
    """Return content that only who has the key can read, or have made: ChaCha20-Poly1305."""
    nonce = os.urandom(_NONCE)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, content, about)


def opened(key: bytes, box: bytes, about: bytes) -> bytes:
    """Return the content of a box. Raises `ValueError` if it was not made with this key."""
    try:
        return ChaCha20Poly1305(key).decrypt(box[:_NONCE], box[_NONCE:], about)
    except InvalidTag:
        raise ValueError("a box that another key has closed") from None
