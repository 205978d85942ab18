"""A loaded backbone: from images and sentences to vectors."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fedretune.backbones import BackboneInfo
from fedretune.backbones.source import Source, find_source
from fedretune.errors import UserError

_TEXTS = 256  # sentences a batch

#: A tokenizer with fewer words than this beside its special tokens has lost its vocabulary.
_LEAST_WORDS = 10


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen vision-language model in evaluation mode.

    Parameters
    ----------
    info : BackboneInfo
    device : torch.device
    model : torch.nn.Module
        open_clip's model, float32; nothing of it asks for a gradient.
    tokenizer : callable
        From sentences to an int64 tensor ``[N, context]``.
    transform : callable
        open_clip's evaluation transform.
    """

    info: BackboneInfo
    device: torch.device
    model: Any
    tokenizer: Any
    transform: Any

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return a float32 tensor ``[C, H, W]`` on the CPU, ready for `encode_images`."""
        tensor: Tensor = self.transform(image)
        return tensor

    @torch.inference_mode()
    def encode_images(self, images: Tensor) -> Tensor:
        """Return vectors ``[B, d]``, float32, on the CPU, not normalised, of ``[B, C, H, W]``."""
        images = images.to(self.device, memory_format=torch.channels_last)
        with self._precision():
            vectors: Tensor = self.model.encode_image(images).float().cpu()
        return vectors

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return vectors ``[N, d]``, float32, on the CPU, not normalised, of `N` sentences."""
        encoded = []
        for start in range(0, len(texts), _TEXTS):
            tokens = self.tokenizer(list(texts[start : start + _TEXTS])).to(self.device)
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
    info = BackboneInfo(
        name, source.folder, source.fingerprint(), source.dim, source.preprocessing()
    )
    chosen = _device(device)
    if not allow_hub:
        # Read when the hub's client is first imported; it turns slow retries into an error.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import open_clip

    model = _model(source)
    tokenizer = _tokenizer(source)
    _check_vocabulary(name, tokenizer, model)
    preprocessing = open_clip.transform.PreprocessCfg(**json.loads(info.preprocessing))
    transform = open_clip.transform.image_transform_v2(preprocessing, is_train=False)
    model = model.eval().requires_grad_(False)
    return Backbone(
        info, chosen, model.to(chosen, memory_format=torch.channels_last), tokenizer, transform
    )


def vocabulary_size(tokenizer: Any) -> int:
    """Return how many tokens a tokenizer of open_clip knows, special ones included."""
    inner = getattr(tokenizer, "tokenizer", None)
    return len(inner) if inner is not None else int(tokenizer.vocab_size)


def _model(source: Source) -> Any:
    import open_clip

    overrides: dict[str, Any] = {}
    text = source.model_cfg["text_cfg"]
    if source.folder and text.get("hf_model_name"):
        # open_clip looks the text tower up at its address, not in the folder.
        local = {"hf_model_name": str(source.folder), "hf_model_pretrained": False}
        overrides["text_cfg"] = {**text, **local}
    try:
        with _quiet():
            # Built empty and filled from the very file that the fingerprint covers.
            model = open_clip.create_model(
                source.open_clip_name, load_weights=False, pretrained_text=False, **overrides
            )
            open_clip.load_checkpoint(model, str(source.weights), strict=True)
    except Exception as error:  # what a broken folder raises is open
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise UserError(
            f"Cannot load the backbone from {source.folder or source.weights}: {reason} Do config "
            "and weights belong together?"
        ) from error
    return model


def _tokenizer(source: Source) -> Any:
    import open_clip

    try:
        return open_clip.get_tokenizer(source.open_clip_name)
    except Exception as error:  # as above
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise UserError(
            f"Cannot load the tokenizer of the backbone '{source.open_clip_name}': {reason}"
        ) from error


def _check_vocabulary(name: str, tokenizer: Any, model: Any) -> None:
    size = vocabulary_size(tokenizer)
    special = len(getattr(getattr(tokenizer, "tokenizer", None), "all_special_ids", ()))
    if size - special < _LEAST_WORDS:
        raise UserError(
            f"The tokenizer of the backbone '{name}' knows {size} tokens: its vocabulary is "
            "missing. Put its tokenizer.json or vocab.txt into the folder."
        )
    room = getattr(getattr(model, "text", model), "vocab_size", size)
    if size > room:
        raise UserError(
            f"The tokenizer of the backbone '{name}' knows {size:,} tokens and its text tower "
            f"{room:,}: they do not belong together."
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The device '{name}' is not there. Allowed: auto, cpu, cuda.") from error
    return device


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from warning of random weights, which are filled on the next line."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
