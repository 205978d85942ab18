"""Key files: EC P-384, as Flower's node authentication takes them; nobody else may read them."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

#: The mode of a file that its owner alone may read.
PRIVATE = 0o600


def write_private(path: Path, content: bytes) -> None:
    """Write a new file of mode 600. Raises `OSError`, also where it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    path.chmod(PRIVATE)  # whatever the umask


def write_key_pair(path: Path, name: str) -> None:
    """Write a new private key to `path` and its public key to ``<path>.pub``, in OpenSSH's form.

    Raises `OSError`, also where a file exists.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    comment = "".join(each if each.isalnum() else "-" for each in name)
    public_file = path.with_name(f"{path.name}.pub")
    with public_file.open("xb") as file:
        file.write(public + b" " + comment.encode() + b"\n")
