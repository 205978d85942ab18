"""Where FedRETune keeps what it can make again, and how it writes a file."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fedretune.errors import UserError


def cache_folder() -> Path:
    """Return ``$FEDRETUNE_CACHE``, else ``$XDG_CACHE_HOME/fedretune`` or ``~/.cache/fedretune``."""
    if own := os.environ.get("FEDRETUNE_CACHE"):
        return Path(own).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(base).expanduser() / "fedretune").resolve()


@contextmanager
def writing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Give a file that takes the name `path` when the block ends well, and vanishes otherwise.

    A reader sees the old content or the new, whole, also after a power cut. Nobody but its owner
    reads it before it has its `mode`. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
        synced(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def synced(path: Path) -> None:
    """Have the disk hold what a file, or a folder's list of names, is now. Raises `OSError`."""
    if os.name == "nt":  # which has no such thing for a folder, and its own way for a file
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Give a draft folder that takes the place of `folder` when the block ends well.

    A killed or failed block leaves nothing that looks finished. Raises `OSError`, and `UserError`
    where `folder` is there and is not an empty folder.
    """
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"'{folder}' exists and is not an empty folder. Choose another name.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        yield draft
        if folder.exists():
            folder.rmdir()
        draft.chmod(0o755)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
