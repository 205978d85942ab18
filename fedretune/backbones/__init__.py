"""Backbones: frozen vision-language models, by name.

``phantom-clip`` comes with FedRETune; ``lite0-minilm`` is built here from two packages;
``local-dir:/a/folder``, or the folder's path, is any open_clip folder on this machine,
``biovil:/a/folder`` the BioViL pair's, ``vit-mrm:/a/file`` and ``vit-cxr-mae:/a/file`` are image
towers alone; ``MODEL/TAG`` and ``hf-hub:ORG/REPO`` are open_clip's own names and need the
internet, so they must be allowed. Light at import: a folder is described without torch, and
`load_backbone` imports it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedretune.backbones.source import KINDS, SHIPPED, Source, find_source, fingerprint
from fedretune.backbones.towers import LITE0_MINILM

if TYPE_CHECKING:
    from fedretune.backbones.model import Backbone

__all__ = [
    "KINDS",
    "LITE0_MINILM",
    "SHIPPED",
    "BackboneInfo",
    "describe",
    "info_of",
    "load_backbone",
    "no_text",
]


@dataclass(frozen=True)
class BackboneInfo:
    """What a backbone is, for caches and for the handshake of a federation.

    Parameters
    ----------
    name : str
        As it was asked for.
    folder : Path | None
        Where its files are; None for open_clip's built-in configs.
    fingerprint : str
        SHA-256, in hex, over every file that decides the embedding: config, weights, tokenizer.
    dim : int
        Length of a vector.
    preprocessing : str
        Canonical JSON of what becomes of an image: size, mean, std, interpolation, resizing.
    reads_text : bool
        False for an image tower alone: no prompt can be encoded.
    """

    name: str
    folder: Path | None
    fingerprint: str
    dim: int
    preprocessing: str
    reads_text: bool = True


def describe(name: str, allow_hub: bool = False) -> BackboneInfo:
    """Return what a backbone is, without loading it.

    Raises
    ------
    UserError
        The name is unknown, its folder lacks config, weights or tokenizer, or it needs the
        internet and `allow_hub` is False.
    """
    return info_of(name, find_source(name, allow_hub))


def info_of(name: str, source: Source) -> BackboneInfo:
    """Return what the source behind `name` is; see `describe`."""
    return BackboneInfo(
        name,
        source.folder,
        fingerprint(source),
        source.dim,
        source.preprocessing(),
        source.reads_text,
    )


def no_text(name: str) -> str:
    """Return the message for who wants prompts of a backbone that reads none."""
    return (
        f"The backbone '{name}' has no text tower, so nothing that needs prompts can use it. The "
        "methods linear-probe and mlp-probe need none, nor does what is tuned inside it under "
        "adaptor.head = linear; for others take another backbone."
    )


def load_backbone(name: str, device: str = "auto", allow_hub: bool = False) -> "Backbone":
    """Load a backbone, frozen and in evaluation mode.

    Parameters
    ----------
    name : str
        As for `describe`.
    device : str (default: "auto")
        A torch device; `auto` takes CUDA where it is there, else the CPU.
    allow_hub : bool (default: False)
        Whether files may be fetched from the internet.

    Raises
    ------
    UserError
        As `describe`; also weights or a tokenizer that do not fit the config, or no such device.
    """
    from fedretune.backbones.model import load

    return load(name, device, allow_hub)
