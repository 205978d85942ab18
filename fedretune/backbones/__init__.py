"""Backbones: frozen vision-language models, by name.

``phantom-clip`` comes with FedRETune; ``local-dir:/a/folder``, or the folder's path, is any
open_clip folder on this machine; ``MODEL/TAG`` and ``hf-hub:ORG/REPO`` are open_clip's own names
and need the internet, so they must be allowed. Light at import: a folder is described without
torch, and `load_backbone` imports it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedretune.backbones.source import SHIPPED, find_source

if TYPE_CHECKING:
    from fedretune.backbones.model import Backbone

__all__ = ["SHIPPED", "BackboneInfo", "describe", "load_backbone"]


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
        Canonical JSON of open_clip's preprocessing: size, mean, std, interpolation, resizing.
    """

    name: str
    folder: Path | None
    fingerprint: str
    dim: int
    preprocessing: str


def describe(name: str, allow_hub: bool = False) -> BackboneInfo:
    """Return what a backbone is, without loading it.

    Raises
    ------
    UserError
        The name is unknown, its folder lacks config, weights or tokenizer, or it needs the
        internet and `allow_hub` is False.
    """
    source = find_source(name, allow_hub)
    return BackboneInfo(
        name, source.folder, source.fingerprint(), source.dim, source.preprocessing()
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
