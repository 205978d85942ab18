"""Who says so: what a site signs with its own key, and the lists of keys by which it is checked.

The key is the one by which Flower's SuperLink knows the site (``site.key``, EC). Flower signs times
with it; what is signed here begins with words of its own, so that neither can pass for the other.
A list of keys is a TOML file, ``[sites]`` with a line ``name = "ecdsa-sha2-nistp384 ..."`` each.
"""

import base64
import binascii
import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from fedretune.errors import UserError
from fedretune.paths import writing

#: The list of a server's folder, and that of a site's.
ADMITTED, PEERS = "admitted.toml", "peers.toml"
#: Longest file of one key, in bytes.
MOST = 10_000
_TABLE = "sites"


def sign(key: EllipticCurvePrivateKey, purpose: str, said: object) -> str:
    """Return a signature, in base64: ECDSA with SHA-384, at most 188 characters.

    Parameters
    ----------
    key : EllipticCurvePrivateKey
        Of P-256, P-384 or P-521.
    purpose : str
        What is said it for: nothing that is signed for one purpose is good for another.
    said : JSON value
    """
    return base64.b64encode(key.sign(_text(purpose, said), ECDSA(SHA384()))).decode()


def is_signed(key: EllipticCurvePublicKey, signature: str, purpose: str, said: object) -> bool:
    """Tell whether the owner of a key has signed just this. Raises nothing for any signature."""
    try:
        raw = base64.b64decode(signature.encode(), validate=True)
        key.verify(raw, _text(purpose, said), ECDSA(SHA384()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _text(purpose: str, said: object) -> bytes:
    return json.dumps(["fedretune signs", purpose, said], sort_keys=True).encode()


def fingerprint(key: EllipticCurvePublicKey) -> str:
    """Return what ``ssh-keygen -lf`` prints of a key: ``SHA256:`` and 43 characters of base64."""
    digest = hashlib.sha256(base64.b64decode(written(key).split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def written(key: EllipticCurvePublicKey) -> str:
    """Return a public key as a line of OpenSSH's, without a comment."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def read_private(path: Path) -> EllipticCurvePrivateKey:
    """Read a site's own key.

    Raises
    ------
    UserError
        It cannot be read, has a passphrase, or is no EC key.
    """
    public = "its own key cannot be read: `fedretune site check` there says why"
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except Exception as error:  # OSError, and cryptography raises its own, ValueError, TypeError
        raise UserError(
            f"{path} is no OpenSSH private key without a passphrase: take it from a backup, or "
            "make a new one (`ssh-keygen -t ecdsa -b 384`) and have its .pub admitted.",
            public=public,
        ) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise UserError(
            f"{path} is no EC key, which Flower needs: ssh-keygen -t ecdsa -b 384.", public=public
        )
    return key


def read_public(path: Path) -> EllipticCurvePublicKey:
    """Read a ``site.key.pub``. Raises `UserError` if it is no EC public key of OpenSSH's."""
    try:
        with path.open("rb") as file:
            return _public(file.read(MOST))
    except OSError as error:
        raise UserError(
            f"There is no public key to read at {path} ({error.strerror}): a hospital sends its "
            "site.key.pub."
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is {error}: a hospital sends its site.key.pub.") from error


def _public(line: bytes) -> EllipticCurvePublicKey:
    """Read a line of OpenSSH's. Raises `ValueError`."""
    try:
        key = load_ssh_public_key(line)
    except Exception as error:  # ValueError, and cryptography's own
        raise ValueError("no public key of OpenSSH's") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("no EC key, which Flower needs")
    return key


def read_keys(path: Path) -> dict[str, EllipticCurvePublicKey]:
    """Return the keys of a list, by the name of their site.

    Raises
    ------
    UserError
        It cannot be read, is no such list, or two sites have one key.
    """
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8"))
        if set(listed) - {_TABLE} or not isinstance(listed.get(_TABLE, {}), dict):
            raise ValueError(f"it has more than a table [{_TABLE}]")
        keys = {name: _listed(name, line) for name, line in listed.get(_TABLE, {}).items()}
    except OSError as error:
        raise UserError(f"Cannot read the list of keys {path} ({error.strerror}).") from error
    except ValueError as error:  # bad TOML or bad UTF-8, too
        raise UserError(
            f"{path} is no list of sites' keys: {error}. A line is a name, =, and the site.key.pub "
            "of that site in quotes."
        ) from error
    _check_apart(path, keys)
    return keys


def _listed(name: str, line: object) -> EllipticCurvePublicKey:
    try:
        return _public(str(line).encode())
    except ValueError as error:
        raise ValueError(f"'{name}' has {error}") from error


def _check_apart(path: Path, keys: Mapping[str, EllipticCurvePublicKey]) -> None:
    """Raise `UserError` if two sites have one key: each could call itself the other."""
    owners: dict[str, str] = {}
    for name, key in keys.items():
        if (other := owners.setdefault(written(key), name)) != name:
            raise UserError(f"{path} has one key for '{other}' and '{name}': take one of them out.")


def check_addable(path: Path, name: str, key: EllipticCurvePublicKey) -> dict[str, str]:
    """Return the lines that a list would have with a site's key.

    Raises
    ------
    UserError
        What `read_keys` raises of a list that is there; or the name has another key already, or
        the key another name.
    """
    keys = read_keys(path) if path.exists() else {}
    if name in keys and written(keys[name]) != written(key):
        raise UserError(
            f"'{name}' has another key in {path} ({fingerprint(keys[name])}, and this is "
            f"{fingerprint(key)}). If the site has a new one, take its line out first."
        )
    _check_apart(path, {**keys, name: key})
    return {each: written(own) for each, own in sorted({**keys, name: key}.items())}


def add_key(path: Path, name: str, key: EllipticCurvePublicKey) -> None:
    """Put a site's key into a list, which is made where there is none. Raises `UserError`."""
    write_lines(path, check_addable(path, name, key))


def write_lines(path: Path, lines: Mapping[str, str]) -> None:
    """Write a list of keys, by name. Raises `UserError` if it cannot be written."""
    import tomli_w

    try:
        with writing(path) as file:
            file.write(tomli_w.dumps({_TABLE: dict(lines)}).encode())
    except OSError as error:
        raise UserError(f"Cannot write {path} ({error.strerror}).") from error
