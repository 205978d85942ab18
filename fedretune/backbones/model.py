"""A loaded backbone: from images and sentences to vectors."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fedretune.backbones import BackboneInfo, info_of, no_text
from fedretune.backbones.source import find_source
from fedretune.errors import UserError

_TEXTS = 256  # sentences a batch


@dataclass(frozen=True, eq=False)
class Towers:
    """What a source's files become.

    Parameters
    ----------
    model : torch.nn.Module
        Has ``encode_image`` and, where it reads text, ``encode_text``.
    transform : callable
        From a PIL image to a float32 tensor ``[C, H, W]``.
    tokenizer : callable | None
        From sentences to an int64 tensor ``[N, context]``; None where it reads no text.
    remarks : tuple[str, ...]
        What a person should know of how the weights were read.
    """

    model: Any
    transform: Any
    tokenizer: Any = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen vision-language model in evaluation mode.

    Parameters
    ----------
    info : BackboneInfo
    device : torch.device
    towers : Towers
        Their model is float32 and on `device`; nothing of it asks for a gradient.
    """

    info: BackboneInfo
    device: torch.device
    towers: Towers

    @property
    def model(self) -> Any:
        """The torch module; see `Towers`."""
        return self.towers.model

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return a float32 tensor ``[C, H, W]`` on the CPU, ready for `encode_images`."""
        tensor: Tensor = self.towers.transform(image)
        return tensor

    def encode_images(self, images: Tensor) -> Tensor:
        """Return vectors ``[B, d]``, float32, on the CPU, not normalised, of ``[B, C, H, W]``."""
        return self.encode(self.model.encode_image, images)

    @torch.inference_mode()
    def encode(self, part: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return what a part of the model makes of ``[B, C, H, W]``, float32, on the CPU."""
        images = images.to(self.device, memory_format=torch.channels_last)
        with self._precision():
            return part(images).float().cpu()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return vectors ``[N, d]``, float32, on the CPU, not normalised, of `N` sentences.

        Raises
        ------
        UserError
            The backbone has no text tower.
        """
        if not self.info.reads_text:
            raise UserError(no_text(self.info.name))
        encoded = []
        for start in range(0, len(texts), _TEXTS):
            tokens = self.towers.tokenizer(list(texts[start : start + _TEXTS])).to(self.device)
            with self._precision():
                encoded.append(self.model.encode_text(tokens).float().cpu())
        return torch.cat(encoded) if encoded else torch.empty(0, self.info.dim)

    def _precision(self) -> torch.autocast:
        # On CPUs bfloat16 was measured several times slower than float32.
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"
        )


def load(name: str, device: str, allow_hub: bool) -> Backbone:
    """Load a backbone; see `fedretune.backbones.load_backbone`."""
    source = find_source(name, allow_hub)
    info = info_of(name, source)
    chosen = _device(device)
    if not allow_hub:
        # Read when the hub's client is first imported; it turns slow retries into an error.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    towers = source.load()
    model = towers.model.eval().requires_grad_(False)
    model = model.to(chosen, dtype=torch.float32, memory_format=torch.channels_last)
    return Backbone(info, chosen, replace(towers, model=model))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The device '{name}' is not there. Allowed: auto, cpu, cuda.") from error
    return device
