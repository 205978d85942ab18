"""Shares of a secret, and the boxes in which they travel past a server that must not see them."""

import os
from collections.abc import Mapping

from Crypto.Protocol.SecretSharing import Shamir
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

#: Bytes of a share, and of the secret.
SHARE = 16
_NONCE = 12
#: Bytes of a box of two shares: nonce, shares, tag.
BOX = _NONCE + 2 * SHARE + 16


def split(secret: bytes, threshold: int, holders: int) -> list[bytes]:
    """Return a share of 16 bytes for each holder; `threshold` of them tell it, fewer nothing.

    Shamir 1979, "How to share a secret", over GF(2^128).
    """
    return [share for _, share in Shamir.split(threshold, holders, secret, False)]


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Return the secret, from as many shares as the threshold, by their holders' places, from 0.

    From fewer shares, or from wrong ones, something comes out that is not the secret.
    """
    secret: bytes = Shamir.combine([(place + 1, share) for place, share in shares.items()], False)
    return secret


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
