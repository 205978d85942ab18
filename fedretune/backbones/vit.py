"""Image towers alone: checkpoints of the LoRA study's two radiography ViTs.

``MRM.pth`` (masked record modelling) and ``CXR_MAE.pth`` (a masked autoencoder), or files of the
same shape: an encoder under ``model`` with ``cls_token``, ``pos_embed``, ``patch_embed.proj`` and
``blocks.*.attn.qkv``, mostly beside a decoder that nobody needs. They read no text.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fedretune.backbones.preprocess import Preprocessing
from fedretune.errors import UserError

if TYPE_CHECKING:
    from fedretune.backbones.model import Towers

#: Pixels of each side of the image that the encoder sees.
SIZE = 224


@dataclass(frozen=True)
class VitSource:
    """One file of weights, and how the LoRA study's code prepares an image for it.

    Parameters
    ----------
    path : Path
    prepare : Preprocessing
    """

    path: Path
    prepare: Preprocessing

    @property
    def folder(self) -> Path | None:
        """Where the file is."""
        return self.path.parent

    @cached_property
    def dim(self) -> int:
        """Length of a vector: the width of the transformer. Reads the file, with torch."""
        from fedretune.backbones.vit_model import read_checkpoint

        return int(read_checkpoint(self.path)["cls_token"].shape[-1])

    @property
    def reads_text(self) -> bool:
        """Always False."""
        return False

    def preprocessing(self) -> str:
        """Return canonical JSON of the preprocessing."""
        return self.prepare.canonical()

    def files(self) -> tuple[Path, ...]:
        """Return the file."""
        return (self.path,)

    def load(self) -> "Towers":
        """Return the image tower; see `vit_model`."""
        from fedretune.backbones.vit_model import load

        return load(self)


def mrm(path: Path) -> VitSource:
    """Return an MRM checkpoint, prepared for as the study's code does. Raises `UserError`."""
    return VitSource(_there(path), Preprocessing(SIZE, SIZE, "bicubic", 0.4978, 0.2449))


def cxr_mae(path: Path) -> VitSource:
    """Return a CXR-MAE checkpoint, prepared for as the study's code does. Raises `UserError`."""
    # Its runs use AdamW, for which that code takes MAE's transform: 256 pixels, cut to 224.
    return VitSource(_there(path), Preprocessing(256, SIZE, "bicubic", 0.4785, 0.2834))


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}: write vit-mrm:/path/to/MRM.pth, say.")
    return path.absolute()
