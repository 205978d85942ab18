"""The files of BioViL, the backbone of RE-tune's authors: checked without torch.

A copy of the hub's ``microsoft/BiomedVLP-CXR-BERT-specialized``: the text tower CXR-BERT
(``config.json``, ``pytorch_model.bin``, ``vocab.txt``) and, beside it, the image tower
``biovil_image_resnet50_proj_size_128.pt``. The repository's own Python is never run.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedretune.backbones.open_clip_source import TOKENIZER
from fedretune.backbones.preprocess import Preprocessing
from fedretune.errors import UserError

if TYPE_CHECKING:
    from fedretune.backbones.model import Towers

IMAGE = "biovil_image_resnet50_proj_size_128.pt"
TEXT = ("model.safetensors", "pytorch_model.bin")

#: As the authors' library prepares an image for inference: each image's own range, bilinear.
PREPROCESSING = Preprocessing(512, 480, "bilinear", 0.0, 1.0, stretch=True)


@dataclass(frozen=True)
class BiovilSource:
    """A folder with both towers.

    Parameters
    ----------
    folder : Path
    text : Path
        The text tower's weights.
    """

    folder: Path
    text: Path

    @property
    def image(self) -> Path:
        """The image tower's weights."""
        return self.folder / IMAGE

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``: BERT's own, and `projection_size`."""
        return dict(json.loads((self.folder / "config.json").read_text(encoding="utf-8")))

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.config.get("projection_size", 128))

    @property
    def reads_text(self) -> bool:
        """Always True."""
        return True

    def preprocessing(self) -> str:
        """Return canonical JSON of the preprocessing."""
        return PREPROCESSING.canonical()

    def files(self) -> tuple[Path, ...]:
        """Return every file that decides the embedding."""
        tokenizer = [self.folder / name for name in TOKENIZER]
        return (
            self.folder / "config.json",
            self.image,
            self.text,
            *(path for path in tokenizer if path.is_file()),
        )

    def load(self) -> "Towers":
        """Return both towers; see `biovil_model`."""
        from fedretune.backbones.biovil_model import load

        return load(self)


def from_folder(folder: Path) -> BiovilSource:
    """Return the files of a BioViL folder. Raises `UserError` naming all that it lacks."""
    folder = folder.absolute()
    text = [folder / name for name in TEXT if (folder / name).is_file()]
    lacking = [
        name for name in (IMAGE, "config.json", "vocab.txt") if not (folder / name).is_file()
    ]
    if not text:
        lacking.append(" or ".join(reversed(TEXT)))
    if lacking:
        raise UserError(
            f"The BioViL folder {folder} lacks {', '.join(lacking)}. It is a copy of the hub's "
            "microsoft/BiomedVLP-CXR-BERT-specialized, where all of them are."
        )
    source = BiovilSource(folder, text[0])
    try:
        bert = source.config.get("hidden_size")
    except (ValueError, TypeError):
        bert = None
    if not isinstance(bert, int):
        raise UserError(f"{folder / 'config.json'} is no config of a BERT: it has no hidden_size.")
    return source
