"""A short way to a `TunedSpec`: the LoRA study's settings for what is not said."""

from collections.abc import Sequence

from fedretune.adaptors import TunedSpec
from fedretune.adaptors.tuned import TRAINED
from fedretune.tuning.layout import Layout


def tuned_spec(
    layout: Layout,
    kind: str,
    *,
    findings: int = 0,
    rank: int = 4,
    alpha: float = 32.0,
    dropout: float = 0.1,
    targets: Sequence[str] = ("q", "v"),
    blocks: int = 0,
    head: str = "linear",
    scale: str = "learnable",
    stages: int = 1,
    a_seed: int = TRAINED,
    kept: int = 0,
) -> TunedSpec:
    """Return the spec; the parameters are `TunedSpec`'s. Raises `UserError`."""
    return TunedSpec(
        kind,
        rank,
        alpha,
        dropout,
        tuple(targets),
        blocks,
        head,
        scale,
        findings,
        stages,
        a_seed,
        kept,
        layout.lines(),
    )
