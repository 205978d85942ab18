"""The config of differential privacy, and what of a run goes together with it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from fedretune.errors import UserError
from scenarios.table import Scalar, Table, kebab

if TYPE_CHECKING:
    from scenarios.config import RunConfig


class PrivacyConfig(Table):
    """How sites hide whose images they train on, or the server hides sites.

    See `fedretune.privacy.dp` and `server.strategies.private`.
    """

    mechanism: Literal["none", "example", "site"] = "none"
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    clip_quantile: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    steps: Annotated[int, Field(ge=1)] = 5
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.5
    moments: str = ""
    unit: Literal["patient", "image"] = "patient"
    noise_source: Literal["auto", "seeded", "secure"] = "auto"

    @property
    def on(self) -> bool:
        """Whether anything is hidden."""
        return self.mechanism != "none"

    @property
    def at_sites(self) -> bool:
        """Whether sites hide their patients or images."""
        return self.mechanism == "example"

    @property
    def at_server(self) -> bool:
        """Whether the server hides the sites."""
        return self.mechanism == "site"

    @property
    def evens(self) -> bool:
        """Whether sites even gradients out; `none` says no where a recipe would fill the key."""
        return self.at_sites and self.moments not in ("", "none")

    @property
    def hidden(self) -> str:
        """What is hidden whole: a patient, an image or a site."""
        return "site" if self.at_server else self.unit


#: What must be so with it, and is unless the config says otherwise: weights of positives and what
#: is masked come from a site's own labels, which no noise hides.
REQUIRED: Mapping[str, Scalar] = {"train.balance": "none", "train.one-class": "train"}
#: What each mechanism takes and the other does not.
OF_EXAMPLE = ("rate", "steps", "prior", "moments", "unit")
OF_SITE = ("clip_quantile",)


def private_settings(
    given: Mapping[str, Scalar], defaults: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """Return what a flat config must be filled with. Raises `UserError` for what cannot be."""
    if given["privacy.mechanism"] == "site":
        return _unjudged(given, defaults)
    if given["privacy.mechanism"] != "example":
        return {}
    for key, value in REQUIRED.items():
        if given[key] not in (value, defaults[key]):
            raise UserError(
                f"{key} = {given[key]} looks at a site's labels past the noise: with "
                f"privacy.mechanism = {given['privacy.mechanism']} leave it out."
            )
    return dict(REQUIRED)


def _unjudged(given: Mapping[str, Scalar], defaults: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return that no update is judged by the others: one site would decide on another's part.

    Raises `UserError` for a config that wants that, or sites to weigh by what they tell.
    """
    if given["averaging"] != defaults["averaging"]:
        raise UserError(
            f"averaging = {given['averaging']} has sites weigh by counts that no noise hides, and "
            "with privacy.mechanism = site all weigh the same: leave averaging out."
        )
    if given["norm-bound"] not in (0, defaults["norm-bound"]):
        raise UserError(
            f"norm-bound = {given['norm-bound']} judges a site by the others, and with "
            "privacy.mechanism = site none may decide on more than its own part: leave norm-bound "
            "out. What is too long is cut to privacy.clip."
        )
    return {"norm-bound": 0.0}


def check_privacy(config: "RunConfig") -> None:
    """Raise `UserError` for settings of privacy that promise nothing, or that something breaks."""
    privacy = config.privacy
    if not privacy.on:
        if privacy.epsilon or privacy.noise:
            raise UserError(
                "privacy.epsilon or privacy.noise is given, and privacy.mechanism is none: set "
                "privacy.mechanism = example (sites hide patients) or site (the server hides "
                "sites), or leave them out."
            )
        return
    if bool(privacy.epsilon) == bool(privacy.noise):
        raise UserError(
            f"privacy.epsilon is {privacy.epsilon:g} and privacy.noise {privacy.noise:g}: give one "
            "of them above 0. Noise is worked out from epsilon, or epsilon from noise."
        )
    if not privacy.clip:
        raise UserError(
            "privacy.clip is 0, and noise without clipping hides nobody: give the longest that a "
            "gradient or, with privacy.mechanism = site, an update may be, such as 1."
        )
    _check_keys(privacy)
    if privacy.at_server:
        _check_server(config)
    else:
        _check_company(config)


def _check_keys(privacy: PrivacyConfig) -> None:
    """Raise `UserError` for a key of the other mechanism."""
    for name in OF_EXAMPLE if privacy.at_server else OF_SITE:
        if getattr(privacy, name) != PrivacyConfig.model_fields[name].default:
            instead = "; participation is the chance of each site" if name == "rate" else ""
            raise UserError(
                f"privacy.{kebab(name)} means nothing with privacy.mechanism = "
                f"{privacy.mechanism}: leave it out{instead}."
            )


def _check_server(config: "RunConfig") -> None:
    """Raise `UserError` for what needs more of the sites than a sum of cut updates."""
    told = "with privacy.mechanism = site"
    if not config.traits.from_mean:
        raise UserError(
            f"strategy = {config.strategy} looks at each site's reply, and {told} all that it may "
            "see is their sum with noise: take fedavg, fedprox, fedavgm, fedadam, fedyogi or "
            "fedadagrad."
        )
    if config.how.arrangement in ("local", "central"):
        raise UserError(
            f"Method '{config.method}' adds up no sites, and {told} a site hides in the sum of "
            "several: take another method."
        )
    if config.secure_aggregation:
        raise UserError(
            f"secure-aggregation shows the server no single update, and {told} it must cut each: "
            "leave one of them out. privacy.mechanism = example goes with secure-aggregation."
        )
    if config.averages_products:
        raise UserError(
            f"adaptor.averaging = exact averages products of a site's tensors, and {told} only the "
            "tensors' own sum is known: set adaptor.averaging = freeze-A or average-factors."
        )


def _check_company(config: "RunConfig") -> None:
    """Raise `UserError` for what would look at the data beside the noise."""
    told = f"privacy.mechanism = {config.privacy.mechanism}"
    if config.remedies():
        raise UserError(
            f"Method '{config.method}' remembers what no noise hides, so it does not go with "
            f"{told}: take retune, offsets or a probe."
        )
    if not config.traits.part.endswith(":SitePart"):
        raise UserError(
            f"strategy = {config.strategy} has sites tell or do more than noise hides, so it does "
            f"not go with {told}: take fedavg."
        )
    if config.averaging == "positives":
        raise UserError(
            f"averaging = positives has sites tell counts that no noise hides, so it does not go "
            f"with {told}: set averaging = examples."
        )
    if config.privacy.evens and (config.adaptor.wiring != "offsets" or config.adaptor.features):
        raise UserError(
            f"privacy.moments = {config.privacy.moments} evens out gradients that are sums of "
            "image vectors, as those of adaptor.wiring = offsets with adaptor.features = 0 are: "
            "set these, or privacy.moments = none."
        )
