"""The config of the strategies, and what of it goes together."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from fedretune.errors import UserError
from fedretune.strategies import traits_of
from scenarios.table import Scalar, Table, kebab

_PREFIX = "aggregation."


class AggregationConfig(Table):
    """What the strategies take, each its own; see `fedretune.strategies` and the papers."""

    server_lr: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    tau: Annotated[float, Field(gt=0)] = 1e-3
    trimmed: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    attackers: Annotated[int, Field(ge=0)] = 1
    selected: Annotated[int, Field(ge=0)] = 0
    q: Annotated[float, Field(ge=0)] = 1.0
    lipschitz: Annotated[float, Field(gt=0)] = 0.01
    mu: Annotated[float, Field(ge=0)] = 0.01
    floor: Annotated[float, Field(gt=0)] = 0.1
    shrink: Annotated[float, Field(ge=0, le=1)] = 0.5


def strategy_settings(
    given: Mapping[str, Scalar], defaults: Mapping[str, Scalar]
) -> Mapping[str, Scalar]:
    """Return what suits the strategy of a flat config.

    Raises
    ------
    UserError
        An unknown strategy, a key that is not at its default and that it does not take, or one
        whose value it cannot do with.
    """
    strategy = str(given["strategy"])
    traits = traits_of(strategy)
    taken = sorted(_PREFIX + kebab(name) for name in traits.parameters)
    for key, default in defaults.items():
        if key.startswith(_PREFIX) and key not in taken and given[key] != default:
            raise UserError(
                f"strategy = {strategy} takes no {key}; it takes "
                f"{', '.join(taken) or 'no parameter'}: leave {key} out, or take another strategy."
            )
    if not traits.weighs and given["averaging"] != defaults["averaging"]:
        raise UserError(
            f"averaging = {given['averaging']} says how sites weigh, and with strategy = "
            f"{strategy} none weighs more than another: leave averaging out, or take another "
            "strategy."
        )
    for key, value in traits.requires.items():
        if given[key] not in (value, defaults[key]):
            raise UserError(
                f"strategy = {strategy} needs {key} = {value}, and it is {given[key]}: leave {key} "
                "out, or take another strategy."
            )
    return {**traits.settings, **traits.requires}


def taking_part(sites: int, share: float) -> int:
    """Return how many of so many sites take part in a round: a share of them, at least one."""
    return min(sites, max(1, round(share * sites)))
