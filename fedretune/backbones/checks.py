"""Is a backbone what it should be? What ``fedretune backbones verify`` prints."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedretune.backbones import BackboneInfo, describe, load_backbone
from fedretune.backbones.card import provenance
from fedretune.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from fedretune.backbones.model import Backbone

_PROMPTS = ["Findings consistent with Cardiomegaly", "There is no Cardiomegaly"]


@dataclass(frozen=True)
class Check:
    """One question about a backbone: what was asked, whether it holds, and what was found."""

    name: str
    passed: bool
    detail: str


def verify(
    name: str, *, sha256: str | None = None, device: str = "auto", allow_hub: bool = False
) -> list[Check]:
    """Check a backbone's files, load it, and encode a grey image and two prompts.

    Parameters
    ----------
    name : str
        As for `fedretune.backbones.describe`.
    sha256 : str, optional
        The fingerprint that it should have.
    device : str (default: "auto")
    allow_hub : bool (default: False)

    Returns
    -------
    list[Check]
        In the order made. A check that fails ends the list, for later ones build on it. What a
        card says of licence and origin is told, not checked.
    """
    checks: list[Check] = []
    try:
        info = describe(name, allow_hub)
        checks.append(Check("files", True, f"{info.dim} dimensions; {info.folder or 'open_clip'}"))
        identity = _fingerprint(info, sha256)
        checks.append(identity)
        if not identity.passed:  # do not run what is not what it should be
            return checks
        checks += _told(info, allow_hub)
        backbone = load_backbone(name, device, allow_hub)
    except UserError as error:
        return [*checks, Check("loads" if checks else "files", False, str(error))]
    steps: list[Callable[[Backbone], Check]] = [_loads, _images]
    if info.reads_text:
        steps += [_tokenizer, _texts]
    for step in steps:
        check = step(backbone)
        checks.append(check)
        if not check.passed:
            break
    return checks


def _fingerprint(info: BackboneInfo, expected: str | None) -> Check:
    if expected is None or info.fingerprint == expected.strip().lower():
        return Check("fingerprint", True, info.fingerprint)
    return Check("fingerprint", False, f"is {info.fingerprint}, and should be {expected}")


def _told(info: BackboneInfo, allow_hub: bool) -> list[Check]:
    said = provenance(info.name, allow_hub)
    return [
        Check("preprocessing", True, info.preprocessing),
        Check("licence", True, said.licence),
        Check("weights from", True, said.origin),
    ]


def _loads(backbone: "Backbone") -> Check:
    count = sum(parameter.numel() for parameter in backbone.model.parameters())
    trainable = sum(p.numel() for p in backbone.model.parameters() if p.requires_grad)
    detail = f"{count:,} parameters, {trainable} trainable, on {backbone.device}"
    return Check("loads", trainable == 0, "; ".join([detail, *backbone.towers.remarks]))


def _tokenizer(backbone: "Backbone") -> Check:
    from fedretune.backbones.open_clip_model import vocabulary_size

    tokens = backbone.towers.tokenizer(_PROMPTS)
    differ = bool((tokens[0] != tokens[1]).any())
    detail = f"{vocabulary_size(backbone.towers.tokenizer):,} tokens, context of {tokens.shape[1]}"
    return Check("tokenizer", differ, detail if differ else f"{detail}; it tells no prompts apart")


def _images(backbone: "Backbone") -> Check:
    import torch
    from PIL import Image

    images = [Image.new("L", (320, 256), 128), Image.linear_gradient("L")]
    vectors = backbone.encode_images(torch.stack([backbone.preprocess(i) for i in images]))
    return _distinct("images", backbone, vectors)


def _texts(backbone: "Backbone") -> Check:
    return _distinct("prompts", backbone, backbone.encode_texts(_PROMPTS))


def _distinct(name: str, backbone: "Backbone", vectors: "Tensor") -> Check:
    """Check two vectors: the length that the config says, finite, and not the same."""
    import torch

    cosine = float(torch.cosine_similarity(vectors[0], vectors[1], dim=0))
    sound = vectors.shape == (2, backbone.info.dim) and bool(torch.isfinite(vectors).all())
    differ = sound and not torch.equal(vectors[0], vectors[1])
    return Check(name, differ, f"vectors {tuple(vectors.shape)}, cosine of the two {cosine:.3f}")
