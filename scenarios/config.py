"""The run's config: one model for the command line, Flower's run config, sites and server."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from fedretune.adaptors import Spec
from fedretune.compression import Compression, compression_of
from fedretune.errors import UserError, one_of
from fedretune.methods import Method, Remedy, method_of, remedies_of
from fedretune.strategies import Traits, check_sites, part_of, traits_of
from scenarios.adaptor import AdaptorConfig, check_adaptor, layout_of
from scenarios.aggregation import AggregationConfig, strategy_settings, taking_part
from scenarios.down import check_down
from scenarios.failures import Failures, check_attackers
from scenarios.privacy import PrivacyConfig, check_privacy, private_settings
from scenarios.secure import check_secure
from scenarios.table import Scalar, Table

if TYPE_CHECKING:
    from fedretune.strategies.part import SitePart

RECIPES = Path(__file__).parent / "recipes"


class TrainConfig(Table):
    """How a site trains in one round; see `fedretune.training.TrainingSettings`."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0)] = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    batch_size: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1)] = 5
    balance: Literal["none", "sqrt", "full"] = "sqrt"
    one_class: Literal["train", "mask"] = "train"
    checkpointing: bool = False


class RemedyConfig(Table):
    """How strong each remedy against forgetting is; see `fedretune.methods`."""

    ewc: Annotated[float, Field(ge=0)] = 1000.0
    lwf: Annotated[float, Field(ge=0)] = 10.0
    replay: Annotated[int, Field(ge=1)] = 200
    anchor: Annotated[float, Field(ge=0)] = 1.0
    o_lora: Annotated[float, Field(ge=0)] = 0.5


class RunConfig(Table):
    """Everything that decides a run. The same keys as ``[tool.flwr.app.config]``."""

    recipe: str = ""
    name: str = ""
    out: str = "runs"
    resume: bool = False
    seed: Annotated[int, Field(ge=0)] = 1
    sites: Annotated[int, Field(ge=0)] = 0
    scenario: str = "data-incremental"
    experiences: Annotated[int, Field(ge=1, le=1000)] = 5
    groups: str = ""
    unlabelled: Literal["mask", "negative"] = "mask"
    schedule: str = "synchronous"
    asynchrony: Literal["order", "pace"] = "order"
    late_sites: Annotated[float, Field(gt=0, lt=1)] = 0.5
    join_at: Annotated[int, Field(ge=2)] = 3
    labelled_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    rounds: Annotated[int, Field(ge=1, le=10_000)] = 5
    participation: Annotated[float, Field(gt=0, le=1)] = 1.0
    partition: Literal["natural", "iid", "dirichlet"] = "natural"
    alpha: Annotated[float, Field(gt=0)] = 0.5
    arrival: Literal["patients", "experience", "date"] = "patients"
    method: str = "retune"
    backbone: str = "phantom-clip"
    allow_hub: bool = False
    manifest: str = "phantoms"
    prompts: str = "precursor"
    pooling: Literal["mean", "max"] = "mean"
    uncertain: Literal["zeros", "ones", "ignore"] = "zeros"
    evaluation_split: Literal["test", "val"] = "test"
    device: str = "auto"
    workers: Annotated[int, Field(ge=0)] = 0
    batched: Literal["auto", "never", "always"] = "auto"
    strategy: str = "fedavg"
    averaging: Literal["examples", "positives", "equal"] = "examples"
    stream_mean: bool = False
    compression: str = "none"
    compression_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    compression_down: str = "none"
    compression_down_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    secure_aggregation: bool = False
    secure_threshold: Annotated[float, Field(gt=0.5, le=1)] = 0.66
    secure_clip: Annotated[float, Field(ge=2**-10, le=1024, allow_inf_nan=False)] = 1.0
    secure_examples: Annotated[int, Field(ge=1, le=2**40)] = 100_000
    quorum: Annotated[float, Field(gt=0, le=1)] = 0.5
    round_timeout: Annotated[float, Field(gt=0)] = 3600.0
    patience: Annotated[int, Field(ge=0)] = 3
    norm_bound: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    attack: str = ""
    attackers: Annotated[int, Field(ge=0)] = 0
    attack_strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    failures: str = ""
    record_wire: bool = False
    admitted: str = ""
    allow_backbone_on_wire: bool = False
    adaptor: AdaptorConfig = AdaptorConfig()
    train: TrainConfig = TrainConfig()
    remedy: RemedyConfig = RemedyConfig()
    aggregation: AggregationConfig = AggregationConfig()
    privacy: PrivacyConfig = PrivacyConfig()

    @classmethod
    def from_flat(cls, values: Mapping[str, Scalar]) -> "RunConfig":
        """Validate flat keys such as ``adaptor.kind``.

        A recipe fills the keys left at default, and the strategy's and the method's own settings
        those left then.

        Raises
        ------
        UserError
            An unknown key, a bad value or an unknown recipe, with what is allowed.
        """
        given = {**DEFAULTS, **{_known(key): value for key, value in values.items()}}
        if recipe := str(given["recipe"]):
            _fill(given, load_recipe(recipe))
        _fill(given, private_settings(given, DEFAULTS))
        _fill(given, strategy_settings(given, DEFAULTS))
        _fill(given, method_of(str(given["method"])).settings)
        alike = given["privacy.mechanism"] == "site"  # in the server's sum of cut updates
        if alike or not traits_of(str(given["strategy"])).weighs:
            given["averaging"] = DEFAULTS["averaging"]  # a method may have wished for another
        config = _validated(given)
        # Methods, adaptors and compressions have their own lists of names.
        config.compression_of(config.spec(dim=1, findings=1))
        check_down(config)
        check_adaptor(config)
        Failures.of(config.failures)
        check_attackers(config)
        check_privacy(config)
        check_secure(config)
        if config.participation < 1:
            _check_participation(config)
        if config.how.trains:
            _check_strategy(config)
        return config

    @property
    def how(self) -> Method:
        """The method that `method` names."""
        return method_of(self.method)

    @property
    def staged(self) -> bool:
        """Whether sites attack or fail, which only a simulation can have them do."""
        return bool(self.attack or self.failures)

    @property
    def nodes(self) -> int:
        """How many Flower nodes take part; 0 where that is not known."""
        return 1 if self.how.arrangement == "central" else self.sites

    @property
    def tunes(self) -> bool:
        """Whether something inside the backbone is trained."""
        return self.adaptor.tunes and self.how.probe is None

    @property
    def averages_products(self) -> bool:
        """Whether LoRA's products are averaged, rather than each tensor by itself."""
        lora = self.tunes and self.adaptor.kind == "lora"
        return lora and self.adaptor.averaging == "exact"

    @property
    def prompted(self) -> bool:
        """Whether anything looks at prompts."""
        return self.how.probe is None and not (self.tunes and self.adaptor.head == "linear")

    def spec(self, dim: int, findings: int, trunk: tuple[str, ...] = ()) -> Spec:
        """Return what is trained, for a backbone's dimensions and layout. Raises `UserError`."""
        if self.tunes:
            stages = self.experiences if self.how.staged and self.how.order == "stream" else 1
            return self.adaptor.tuned(layout_of(trunk), findings, stages, self.seed)
        return self.how.spec(self.adaptor.spec, dim, findings)

    def counted(self, findings: int) -> int:
        """Return of how many findings a training reply tells the positives: all or none."""
        return findings if self.averaging == "positives" else 0

    def compression_of(self, adaptor: Spec) -> Compression | None:
        """Return how an adaptor's updates are compressed, or None. Raises `UserError`."""
        return compression_of(self.compression, adaptor, self.compression_share)

    def compression_down_of(self, adaptor: Spec) -> Compression | None:
        """Return how the global adaptor's updates are compressed on their way to sites, or None."""
        return compression_of(self.compression_down, adaptor, self.compression_down_share)

    def remedies(self) -> tuple[Remedy, ...]:
        """Return the method's remedies, with their strengths."""
        return remedies_of(self.how, self.remedy.model_dump())

    @property
    def traits(self) -> Traits:
        """What is known of the strategy that `strategy` names."""
        return traits_of(self.strategy)

    def site_part(self) -> "SitePart":
        """Return the site's part in the strategy."""
        return part_of(self.strategy, self.aggregation.model_dump())

    def steps_of(self, examples: int) -> range:
        """Return the numbers of steps in which a site may train so many examples of its own."""
        most = examples + sum(each.most_rows() for each in self.remedies())
        least, last = (math.ceil(each / self.train.batch_size) for each in (examples, most))
        return range(self.train.epochs * least, self.train.epochs * last + 1)

    def to_flat(self) -> dict[str, Scalar]:
        """Return the flat keys and scalar values that `from_flat` takes."""
        return _flatten(self.model_dump(by_alias=True))


def _fill(given: dict[str, Scalar], values: Mapping[str, Scalar]) -> None:
    """Put values in the place of those that are the default's."""
    given.update({key: value for key, value in values.items() if given[key] == DEFAULTS[key]})


def _check_strategy(config: RunConfig) -> None:
    """Raise `UserError` if the method or the number of sites leaves the strategy nothing to do."""
    if config.how.arrangement == "local" and config.strategy != DEFAULTS["strategy"]:
        raise UserError(
            f"Method '{config.method}' aggregates nothing: leave strategy = {config.strategy} out, "
            "or take another method."
        )
    if config.nodes:
        sites = taking_part(config.nodes, config.participation)
        check_sites(config.strategy, config.aggregation.model_dump(), sites, "a round has")


def _check_participation(config: RunConfig) -> None:
    """Raise `UserError` if a remedy looks back at an experience's end, where a site may miss it."""
    backward = [each for each in config.remedies() if type(each).after is not Remedy.after]
    if backward:
        raise UserError(
            f"participation = {config.participation} leaves sites out of an experience's last "
            f"round, in which '{config.method}' must see each: set participation = 1, or another "
            "method."
        )


def load_recipe(name: str) -> dict[str, Scalar]:
    """Return a recipe's flat keys. Raises `UserError` when there is none of that name."""
    one_of("recipe", name, (path.stem for path in RECIPES.glob("*.toml")))
    values = _flatten(tomllib.loads((RECIPES / f"{name}.toml").read_text()))
    return {_known(key): value for key, value in values.items()}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    flat: dict[str, Scalar] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _nest(flat: Mapping[str, Scalar]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *tables, last = key.split(".")
        target = nested
        for table in tables:
            target = target.setdefault(table, {})
        target[last] = value
    return nested


def _known(key: str) -> str:
    return one_of("config key", key, DEFAULTS)


def _validated(flat: Mapping[str, Scalar]) -> RunConfig:
    try:
        return RunConfig.model_validate(_nest(flat))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"Config key '{key}' cannot be {first['input']!r}: {first['msg']}."
        ) from error


#: Every key with its default. ``pyproject.toml`` repeats them, since Flower wants to see them
#: there; a test holds the two together.
DEFAULTS: dict[str, Scalar] = _flatten(RunConfig.model_construct().model_dump(by_alias=True))
