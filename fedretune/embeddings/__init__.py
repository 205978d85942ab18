"""Embeddings: what a frozen backbone makes of images and prompts, computed once and kept."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedretune.embeddings.images import Embeddings, Progress, embed_images

if TYPE_CHECKING:
    from fedretune.embeddings.prompts import embed_prompts as embed_prompts
    from fedretune.embeddings.prompts import no_prompts as no_prompts

__all__ = ["Embeddings", "Progress", "embed_images", "embed_prompts", "no_prompts"]


def __getattr__(name: str) -> Any:
    if name not in ("embed_prompts", "no_prompts"):  # they need torch, unlike finding vectors
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.prompts"), name)
