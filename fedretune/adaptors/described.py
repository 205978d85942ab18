"""What the descriptions of all that is trained have in common."""

import hashlib
import json
import math
from typing import ClassVar

from fedretune.errors import UserError


class Described:
    """A spec's name for itself: what sites compare, and what a file of tensors carries."""

    #: The tensors whose first axis is the findings, so that each row is one finding's alone.
    by_finding: ClassVar[tuple[str, ...]]

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of `to_json()`: equal if and only if the specs are."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return canonical JSON: keys sorted, no spaces."""
        return json.dumps(vars(self), sort_keys=True, separators=(",", ":"))


def canonical_scale(scale: str) -> str:
    """Return `scale` in the one spelling that its fingerprint is taken of ("10" is "10.0")."""
    if scale in ("none", "learnable"):
        return scale
    try:
        number = float(scale)
    except (TypeError, ValueError):
        number = math.nan
    if not (isinstance(scale, str) and 0 < number < math.inf):
        raise UserError(
            f"adaptor.scale is {scale!r}; allowed: none, learnable, or a positive number as text."
        )
    return repr(number)
