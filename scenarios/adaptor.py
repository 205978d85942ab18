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
    kept_rank: Annotated[int, Field(ge=0)] = 0
    ranks: str = ""

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
            self.kept_rank,
            layout.lines(),
        )

    def rank_of(self, position: int) -> int:
        """Return the rank of the site at a position: those of `ranks`, again and again.

        Raises `UserError` for what is no list of ranks from 1 to `rank`.
        """
        if not self.ranks:
            return self.rank
        given = [each.strip() for each in self.ranks.split(",")]
        if not all(each.isdecimal() and 1 <= int(each) <= self.rank for each in given):
            raise UserError(
                f"adaptor.ranks is '{self.ranks}'; give whole numbers from 1 to adaptor.rank = "
                f'{self.rank}, such as "2, {self.rank}".'
            )
        return int(given[position % len(given)])


#: What each sort of adaptor has no use for.
_OF_ADAPTORS = ("wiring", "residual", "features")
_OF_LORA = ("rank", "alpha", "dropout", "targets", "averaging", "kept_rank", "ranks")
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
    elif config.how.staged:
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
    if config.how.staged and adaptor.kind != "lora":
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
    if adaptor.kind == "lora":
        _check_averaging(config)


def _check_averaging(config: "RunConfig") -> None:
    adaptor = config.adaptor
    exact = adaptor.averaging == "exact"
    if exact and config.strategy not in ("fedavg", "fedprox"):
        raise UserError(
            f"adaptor.averaging = exact averages products, and strategy = {config.strategy} works "
            "on factors apart: set adaptor.averaging = freeze-A, where both are the same, or "
            "average-factors; or take fedavg."
        )
    if exact and config.secure_aggregation:
        raise UserError(
            "adaptor.averaging = exact needs each site's factors, and with secure-aggregation the "
            "server learns their sum alone: set adaptor.averaging = freeze-A, where the sum is "
            "enough."
        )
    if config.stream_mean and adaptor.averaging != "freeze-A":
        raise UserError(
            "stream-mean averages A and B apart, which is not averaging what they add: set "
            "adaptor.averaging = freeze-A, where both are the same, or leave stream-mean out."
        )
    if adaptor.ranks and (not exact or adaptor.kept_rank or config.how.staged):
        raise UserError(
            "adaptor.ranks gives sites ranks of their own, whose products can be averaged and "
            "whose factors cannot: set adaptor.averaging = exact and adaptor.kept-rank = 0, and "
            "take a method of one LoRA, carried along."
        )
    if adaptor.kept_rank and not exact:
        raise UserError(
            f"adaptor.kept-rank keeps what averaging products leaves over, and adaptor.averaging "
            f"is {adaptor.averaging}: leave one of them out."
        )
    adaptor.rank_of(0)
    if "o_lora" in config.how.remedies and adaptor.averaging == "freeze-A":
        raise UserError(
            "o-lora trains A to be orthogonal to earlier ones, and adaptor.averaging = freeze-A "
            "holds it: take lora-sum, or another averaging."
        )
