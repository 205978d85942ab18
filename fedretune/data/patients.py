"""Patients' ids that say nothing about the patient outside the site: salted hashes."""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from fedretune.errors import UserError

SALT_FILE = ".fedretune-salt"
_BYTES = 32

#: The longest name that chance puts into a text.
_SHORT = 4


def pseudonym(salt: bytes, patient: str) -> str:
    """Return 16 hexadecimal digits that stand for a patient; without the salt nobody can tell whom.

    HMAC-SHA-256 (RFC 2104) keyed by the salt, cut to 64 bits: among a million patients the chance
    that two share a pseudonym is 3e-8.
    """
    digest = hmac.new(salt, patient.strip().encode("utf-8", "surrogatepass"), hashlib.sha256)
    return digest.hexdigest()[:16]


def identifies(text: str, names: Iterable[str]) -> bool:
    """Return whether a text, such as a path, has one of a patient's ids or names in it.

    A short one counts where it is a word, and one of two characters or fewer never: any text may
    have them.
    """
    text = text.casefold()
    words = set(re.split(r"[\W_]+", text))
    return any(
        name in (text if len(name) > _SHORT else words)
        for name in (name.casefold() for name in names)
        if len(name) > 2
    )


def load_salt(folder: Path) -> bytes:
    """Return the salt of a folder, 32 bytes; it is made at the first call, and never leaves.

    The file may be read by its owner alone. Who has it can test whether a known id is in a
    manifest; who loses it gets other pseudonyms for the same patients.

    Raises
    ------
    UserError
        The file cannot be written or read, or is no salt.
    """
    path = folder / SALT_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        salt = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot make or read the salt {path}: {error.strerror}.") from error
    if len(salt) != _BYTES:
        raise UserError(
            f"{path} is no salt ({len(salt)} bytes, not {_BYTES}). Restore it, or delete it: a new "
            "one gives patients other pseudonyms."
        )
    return salt


def _make(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was first: its salt holds
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_BYTES))
        file.flush()
        os.fsync(file.fileno())
