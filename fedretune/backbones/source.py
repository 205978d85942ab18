"""Which files a backbone's name stands for: one line for each kind of backbone."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fedretune.backbones import biovil, open_clip_source, vit
from fedretune.backbones.towers import LITE0_MINILM, built_folder
from fedretune.hashing import file_digests

if TYPE_CHECKING:
    from fedretune.backbones.model import Towers

#: Backbones that come with FedRETune, each an open_clip folder.
SHIPPED = {"phantom-clip": Path(__file__).parent / "phantom-clip"}


class Source(Protocol):
    """The files behind a backbone's name, and how they become a model."""

    @property
    def folder(self) -> Path | None:
        """Where the files are; None for a config that comes with open_clip."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def reads_text(self) -> bool:
        """Whether there is a text tower."""

    def preprocessing(self) -> str:
        """Return canonical JSON of what becomes of an image before the encoder sees it."""

    def files(self) -> Sequence[Path]:
        """Return every file that decides the embedding."""

    def load(self) -> "Towers":
        """Return the model, its tokenizer and its transform. Raises `UserError`."""


#: What stands before the colon of a name, and what reads what stands behind it.
KINDS: dict[str, Callable[[Path], Source]] = {
    "local-dir": open_clip_source.from_folder,
    "biovil": biovil.from_folder,
    "vit-mrm": vit.mrm,
    "vit-cxr-mae": vit.cxr_mae,
}


def find_source(name: str, allow_hub: bool) -> Source:
    """Return the files behind `name`; see `fedretune.backbones.describe`."""
    if name in SHIPPED:
        return open_clip_source.from_folder(SHIPPED[name])
    if name == LITE0_MINILM:
        return open_clip_source.from_folder(built_folder())
    kind, _, rest = name.partition(":")
    if kind in KINDS:
        return KINDS[kind](Path(rest).expanduser())
    if Path(name).expanduser().is_dir():
        return open_clip_source.from_folder(Path(name).expanduser())
    if kind == "hf-hub":
        return open_clip_source.from_hub(rest, allow_hub)
    return open_clip_source.from_open_clip(name, allow_hub)


def fingerprint(source: Source) -> str:
    """Return the SHA-256, in hex, over the names and contents of a source's files."""
    files = sorted(set(source.files()), key=lambda path: path.name)
    total = hashlib.sha256()
    for path, digest in zip(files, file_digests(files), strict=True):
        total.update(path.name.encode() + b"\0" + digest)
    return total.hexdigest()
