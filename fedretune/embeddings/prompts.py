"""Encoding the prompts of a run's findings, once."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fedretune.backbones import describe, load_backbone, no_text
from fedretune.errors import UserError
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.paths import cache_folder, writing
from fedretune.prompts import PromptSet


def embed_prompts(
    prompts: PromptSet,
    findings: Sequence[str],
    backbone: str,
    *,
    device: str = "auto",
    allow_hub: bool = False,
) -> PromptEmbeddings:
    """Return the embedded prompts of `F` findings, from the cache where they are there.

    Parameters
    ----------
    prompts : PromptSet
    findings : Sequence[str]
    backbone : str
        A name for `fedretune.backbones.describe`; loaded only where the cache lacks them.
    device : str (default: "auto")
    allow_hub : bool (default: False)

    Raises
    ------
    UserError
        The backbone's faults, one without a text tower among them, or a cache that cannot be
        written.
    """
    names = tuple(findings)
    info = describe(backbone, allow_hub)
    if not info.reads_text:
        raise UserError(no_text(backbone))
    key = json.dumps([info.fingerprint, prompts.fingerprint, names], ensure_ascii=False)
    path = cache_folder() / "prompts" / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
    tensors = _read(path)
    if tensors is None:
        pairs = [prompts.texts(finding) for finding in names]
        model = load_backbone(backbone, device, allow_hub)
        tensors = {
            side: torch.stack([model.encode_texts(pair[part]) for pair in pairs])
            for part, side in enumerate(("positive", "negative"))
        }
        _write(path, tensors)
    return PromptEmbeddings(tensors["positive"], tensors["negative"], names)


def no_prompts(findings: Sequence[str], backbone: str) -> PromptEmbeddings:
    """Return what stands for the prompts where nothing looks at them: one of zeros a side.

    The frozen model's scores are then all 0, which is what a backbone without text can say.
    """
    zeros = torch.zeros(len(findings), 1, describe(backbone).dim)
    return PromptEmbeddings(zeros, zeros, tuple(findings))


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None  # not there, or damaged: encoded anew


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        with writing(path) as file:
            file.write(save(tensors))
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror}. FEDRETUNE_CACHE names another folder for what "
            "FedRETune keeps."
        ) from error
