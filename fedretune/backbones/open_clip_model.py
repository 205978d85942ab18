"""An open_clip model from its files, with weights and vocabulary that are surely its own."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import open_clip

from fedretune.backbones.model import Towers
from fedretune.backbones.open_clip_source import OpenClipSource
from fedretune.errors import UserError

#: A tokenizer with fewer words than this beside its special tokens has lost its vocabulary.
_LEAST_WORDS = 10


def load(source: OpenClipSource) -> Towers:
    """Return open_clip's model, evaluation transform and tokenizer.

    Raises
    ------
    UserError
        Weights or a tokenizer that do not fit the config.
    """
    model = _model(source)
    tokenizer = _tokenizer(source)
    check_vocabulary(source.open_clip_name, tokenizer, model)
    preprocessing = open_clip.transform.PreprocessCfg(**json.loads(source.preprocessing()))
    transform = open_clip.transform.image_transform_v2(preprocessing, is_train=False)
    return Towers(model, transform, tokenizer)


def vocabulary_size(tokenizer: Any) -> int:
    """Return how many tokens a tokenizer of open_clip knows, special ones included."""
    inner = getattr(tokenizer, "tokenizer", None)
    return len(inner) if inner is not None else int(tokenizer.vocab_size)


def _model(source: OpenClipSource) -> Any:
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


def _tokenizer(source: OpenClipSource) -> Any:
    try:
        return open_clip.get_tokenizer(source.open_clip_name)
    except Exception as error:  # as above
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise UserError(
            f"Cannot load the tokenizer of the backbone '{source.open_clip_name}': {reason}"
        ) from error


def check_vocabulary(name: str, tokenizer: Any, model: Any) -> None:
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from warning of random weights, which are filled on the next line."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
