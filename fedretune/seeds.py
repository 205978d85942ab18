"""Randomness that comes from names alone, so that any process draws the same numbers."""

import hashlib


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed from `parts`, e.g. ``derive_seed(seed, "train", site, experience)``.

    Any change of a part gives an unrelated seed; the order of calls does not matter.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
