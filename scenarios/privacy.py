"""The config of differential privacy, and what of a run goes together with it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from fedretune.errors import UserError
from scenarios.table import Scalar, Table

if TYPE_CHECKING:
    from scenarios.config import RunConfig


class PrivacyConfig(Table):
    """How sites hide whose images they train on; see `fedretune.privacy.dp`."""

    mechanism: Literal["none", "example"] = "none"
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    steps: Annotated[int, Field(ge=1)] = 5
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.5
    unit: Literal["patient", "image"] = "patient"
    noise_source: Literal["auto", "seeded", "secure"] = "auto"

    @property
    def on(self) -> bool:
        """Whether anything is hidden."""
        return self.mechanism != "none"


#: What must be so with it, and is unless the config says otherwise: weights of positives and what
#: is masked come from a site's own labels, which no noise hides.
REQUIRED: Mapping[str, Scalar] = {"train.balance": "none", "train.one-class": "train"}


def private_settings(
    given: Mapping[str, Scalar], defaults: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """Return what a flat config must be filled with. Raises `UserError` for what cannot be."""
    if given["privacy.mechanism"] == "none":
        return {}
    for key, value in REQUIRED.items():
        if given[key] not in (value, defaults[key]):
            raise UserError(
                f"{key} = {given[key]} looks at a site's labels past the noise: with "
                f"privacy.mechanism = {given['privacy.mechanism']} leave it out."
            )
    return dict(REQUIRED)


def check_privacy(config: "RunConfig") -> None:
    """Raise `UserError` for settings of privacy that promise nothing, or that something breaks."""
    privacy = config.privacy
    if not privacy.on:
        if privacy.epsilon or privacy.noise:
            raise UserError(
                "privacy.epsilon or privacy.noise is given, and privacy.mechanism is none: set "
                "privacy.mechanism = example, or leave them out."
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
            "gradient may be, such as 1."
        )
    _check_company(config)


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
