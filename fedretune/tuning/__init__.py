"""Tuning inside a frozen vision transformer: LoRA, BitFit, full tuning, and a head alone.

What is trained is described by `fedretune.adaptors.TunedSpec` and built, saved and sent like any
adaptor. Frozen weights are no part of it: the process holds them (`use`), found by fingerprint.

>>> from fedretune.adaptors import TunedSpec, build
>>> from fedretune.tuning import tuned_spec, use          # doctest: +SKIP
>>> layout = use("vit-mrm:/path/to/MRM.pth")              # doctest: +SKIP
>>> spec = tuned_spec(layout, "lora", findings=14, rank=4, blocks=4)  # doctest: +SKIP
>>> model = build(spec, seed=0)                           # doctest: +SKIP
>>> model.logits(rows)       # [n, 14]; rows [n, T * w] of the cut   # doctest: +SKIP

Rows come from `fedretune.embeddings.embed_images(manifest, backbone, cut=spec)`, once an image, or
of images at hand from ``held(spec.layout.backbone).tokens(images, spec.blocks)`` (all that lies
below the first tuned block, without a gradient), flattened to ``[n, T * w]``. With
``model.dropping(seed)`` around a training loop LoRA's dropout is on, by that seed; outside it is
off. `model.checkpointing = True` trades time for memory. Parameters are counted by
``sum(p.numel() for p in model.parameters())``, or without torch from ``spec.tensors()``.

In a run's config: ``adaptor.kind`` = lora, bitfit, full or head, ``adaptor.head`` = linear or
prompts, and ``adaptor.rank``, ``.alpha``, ``.dropout``, ``.targets``, ``.blocks``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedretune.tuning.layout import TARGETS, Layout, read, stand_in

if TYPE_CHECKING:
    from fedretune.tuning.frozen import Trunk as Trunk
    from fedretune.tuning.frozen import held as held
    from fedretune.tuning.load import trunk_of as trunk_of
    from fedretune.tuning.load import use as use
    from fedretune.tuning.module import Tuned as Tuned
    from fedretune.tuning.spec import tuned_spec as tuned_spec

__all__ = ["TARGETS", "Layout", "read", "stand_in"]

_LAZY = {
    "Trunk": "frozen",
    "held": "frozen",
    "trunk_of": "load",
    "use": "load",
    "Tuned": "module",
    "tuned_spec": "spec",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
