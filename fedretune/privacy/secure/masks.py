"""Masks that cancel, and the keys that two sites make them from.

Two sites agree on a key by X25519 (RFC 7748) and HKDF-SHA-256 (RFC 5869), and stretch it by
ChaCha20 (RFC 8439) into one uniform element of any ring for each number.
"""

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedretune.privacy.secure.ring import WIDEST, Elements

#: Bytes of what a key is made from: as many as are shared out at once, see `sharing`.
SEED = 16
#: Bytes of a key.
KEY = 32


def private_key(seed: bytes) -> X25519PrivateKey:
    """Return the private key that a seed stands for: who puts a seed together again has it."""
    return X25519PrivateKey.from_private_bytes(_derived(seed, b"private key"))


def public_key(private: X25519PrivateKey) -> bytes:
    """Return the 32 bytes that may be told of a private key."""
    return private.public_key().public_bytes_raw()


def agreed(private: X25519PrivateKey, other: bytes, purpose: bytes) -> bytes:
    """Return the key that the owners of two key pairs agree on, for one purpose.

    Raises
    ------
    ValueError
        `other` is no public key, or one with which anybody knows what is agreed on.
    """
    both = b"".join(sorted((public_key(private), other)))
    secret = private.exchange(X25519PublicKey.from_public_bytes(other))
    return _derived(secret, purpose + both)


def self_mask(seed: bytes, count: int) -> Elements:
    """Return the mask that a site adds for itself: `count` elements."""
    return _stream(_derived(seed, b"self mask"), count)


def pair_mask(key: bytes, count: int) -> Elements:
    """Return the mask that one of two sites adds, and the other takes off."""
    return _stream(key, count)


def _stream(key: bytes, count: int) -> Elements:
    # A key makes one mask only, so that the nonce need not differ. Of the 8 bytes of an element
    # those that its ring does not have are drawn and dropped: to leave them out takes longer.
    cipher = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    drawn: Elements = np.frombuffer(cipher.update(bytes(count * WIDEST)), "<u8")
    return drawn


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY, salt=None, info=b"fedretune secure sum: " + purpose).derive(secret)
