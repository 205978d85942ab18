"""The config of what is trained, and what of a run goes together with it."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from fedretune.adaptors import AdaptorSpec, TunedSpec
from fedretune.adaptors.tuned import TRAINED, TUNED
from fedretune.errors import UserError
from fedretune.tuning import Layout, read, stand_in
from scenarios.table import Table, kebab

if TYPE_CHECKING:
    from scenarios.config import RunConfig


class AdaptorConfig(Table):
    """What is trained; see `fedretune.adaptors.AdaptorSpec` and `TunedSpec`."""

    kind: str = "mlp"
    wiring: str = "double"
    residual: bool = True
    scale: str = "learnable"
    features: Annotated[int, Field(ge=0, le=65_536)] = 0
    head: Literal["prompts", "linear"] = "prompts"
    rank: Annotated[int, Field(ge=1)] = 4
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    targets: str = "q, v"
    blocks: Annotated[int, Field(ge=0)] = 0
    averaging: Literal["exact", "freeze-A", "average-factors"] = "exact"

    @property
    def tunes(self) -> bool:
        """Whether it is something inside the backbone."""
        return self.kind in TUNED

    def spec(self, dim: int, findings: int) -> AdaptorSpec:
        """Return the adaptor for a backbone's dimensions. Raises `UserError`."""
        return AdaptorSpec(
            self.kind, self.wiring, dim, self.residual, self.scale, findings, self.features
        )

    def tuned(self, layout: Layout, findings: int, stages: int, seed: int) -> TunedSpec:
        """Return what is tuned inside a backbone of this layout. Raises `UserError`."""
        return TunedSpec(
            self.kind,
            self.rank,
            self.alpha,
            self.dropout,
            tuple(each.strip() for each in self.targets.split(",") if each.strip()),
            self.blocks,
            self.head,
            self.scale,
            findings,
            stages,
            seed if self.averaging == "freeze-A" else TRAINED,
            layout.lines(),
        )


#: What each sort of adaptor has no use for.
_OF_ADAPTORS = ("wiring", "residual", "features")
_OF_LORA = ("rank", "alpha", "dropout", "targets", "averaging")
_OF_TUNED = ("head", "blocks", *_OF_LORA)


def layout_of(trunk: tuple[str, ...]) -> Layout:
    """Return the layout that sites told; for none, one that only a config is checked by."""
    return read(trunk) if trunk else stand_in()


def check_adaptor(config: "RunConfig") -> None:
    """Raise `UserError` for settings of the adaptor that are of no use, or go with nothing else."""
    adaptor, kind = config.adaptor, config.adaptor.kind
    if config.how.probe is not None:
        return
    useless = _OF_ADAPTORS if adaptor.tunes else _OF_TUNED
    if adaptor.tunes and kind != "lora":
        useless = (*useless, *_OF_LORA)
    for name in useless:
        value = getattr(adaptor, name)
        if value != type(adaptor).model_fields[name].default:
            raise UserError(
                f"adaptor.{kebab(name)} = {value} is of no use with adaptor.kind = {kind}: leave "
                "it out, or take another kind."
            )
    if adaptor.tunes:
        _check_company(config)
    elif config.how.tuned:
        raise UserError(
            f"Method '{config.method}' is about LoRA, and adaptor.kind is {kind}: leave it out."
        )


def _check_company(config: "RunConfig") -> None:
    adaptor, told = config.adaptor, f"adaptor.kind = {config.adaptor.kind}"
    if adaptor.kind == "full" and not config.allow_backbone_on_wire:
        raise UserError(
            f"{told} sends every weight of the backbone's blocks, 343 MB a site and round for a "
            "ViT-B/16, and what is in them: set allow-backbone-on-wire = true if that is meant, "
            "or take adaptor.kind = lora."
        )
    if config.how.tuned and adaptor.kind != "lora":
        raise UserError(f"Method '{config.method}' is about LoRA, and {told}: leave it out.")
    for part in ("anchor", "offsets"):
        if part in config.method.split("+"):
            raise UserError(
                f"Method '{part}' works on prompts, which {told} leaves as they are: leave one of "
                "them out."
            )
    if config.strategy == "regmean":
        raise UserError(
            f"strategy = regmean solves for linear layers, and {told} is none: take fedavg."
        )
    if config.batched == "always":
        raise UserError(f"batched = always is for small adaptors, and {told}: set it to auto.")
    if adaptor.kind == "lora" and adaptor.averaging == "exact" and config.strategy != "fedavg":
        raise UserError(
            f"adaptor.averaging = exact averages products, and strategy = {config.strategy} works "
            "on factors apart: set adaptor.averaging = freeze-A, where both are the same, or "
            "average-factors; or take fedavg."
        )
