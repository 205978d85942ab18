"""Strategies: how the adaptors of a round's sites become the next global one.

Here is what a config may say of a strategy and what a site must know of it, without torch and
without Flower; the server's part, under the same names, is `server.strategies`. Adding a strategy
is one file there, one line in each of the two tables, and a file here if the site takes part.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING

from fedretune.errors import UserError, one_of

if TYPE_CHECKING:
    from fedretune.strategies.part import SitePart

#: The values of the config's table ``aggregation``, by name.
Parameters = Mapping[str, float]


def _one(parameters: Parameters) -> int:
    return 1


def _krum(parameters: Parameters) -> int:
    """Return 2 f + 3 (Blanchard et al. 2017), f the attackers."""
    return 2 * int(parameters["attackers"]) + 3


def _multikrum(parameters: Parameters) -> int:
    """Return what Krum needs, or enough to select from the n - f that are no attackers."""
    return max(_krum(parameters), int(parameters["selected"] + parameters["attackers"]))


def _bulyan(parameters: Parameters) -> int:
    """Return 4 f + 3 (El Mhamdi et al. 2018), f the attackers."""
    return 4 * int(parameters["attackers"]) + 3


def _trimmed(parameters: Parameters) -> int:
    """Return the fewest sites of which one can be cut off at each end."""
    share = parameters["trimmed"]
    return next(sites for sites in count(int(1 / share)) if int(share * sites)) if share else 1


@dataclass(frozen=True)
class Traits:
    """What is known of a strategy before it runs.

    Parameters
    ----------
    parameters : tuple[str, ...] (default: none)
        The keys of the config's table ``aggregation`` that it takes.
    weighs : bool (default: True)
        Whether a site counts by its examples, or, where the config says so, its positives.
    settings : mapping of config key to value (default: none)
        What suits it where the config says nothing else.
    requires : mapping of config key to value (default: none)
        What it would not be itself without.
    least : callable (parameters) -> int
        The fewest sites that it can aggregate.
    sends : tuple[str, ...] (default: none)
        What, of all that it remembers from round to round, goes down to each site beside the
        adaptor, once there is any: names of the server's state, each then a record, in float32.
    from_mean : bool (default: False)
        Whether the weighted mean of the replies tells it all that it needs of them: then a secure
        sum will do.
    part : str (default: none)
        The site's part, a `SitePart`, as ``"package.module:attribute"``.
    """

    parameters: tuple[str, ...] = ()
    weighs: bool = True
    settings: Mapping[str, float] = field(default_factory=dict)
    requires: Mapping[str, str] = field(default_factory=dict)
    least: Callable[[Parameters], int] = _one
    sends: tuple[str, ...] = ()
    from_mean: bool = False
    part: str = "fedretune.strategies.part:SitePart"


_ADAPTIVE = ("server_lr", "beta_1", "beta_2", "tau")

STRATEGIES: dict[str, Traits] = {
    "fedavg": Traits(from_mean=True),
    "fedprox": Traits(("mu",), from_mean=True, part="fedretune.strategies.fedprox:FedProx"),
    "fedavgm": Traits(
        ("server_lr", "momentum"), settings={"aggregation.server-lr": 1.0}, from_mean=True
    ),
    "fedadam": Traits(_ADAPTIVE, settings={"aggregation.server-lr": 0.01}, from_mean=True),
    "fedyogi": Traits(_ADAPTIVE, settings={"aggregation.server-lr": 0.01}, from_mean=True),
    "fedadagrad": Traits(
        ("server_lr", "tau"), settings={"aggregation.server-lr": 0.01}, from_mean=True
    ),
    "fedmedian": Traits(weighs=False),
    "fedtrimmedavg": Traits(("trimmed",), weighs=False, least=_trimmed),
    "krum": Traits(("attackers",), weighs=False, least=_krum),
    "multikrum": Traits(("attackers", "selected"), weighs=False, least=_multikrum),
    "bulyan": Traits(("attackers",), weighs=False, least=_bulyan),
    "qfedavg": Traits(
        ("q", "lipschitz"), weighs=False, part="fedretune.strategies.qfedavg:QFedAvg"
    ),
    "scaffold": Traits(
        ("server_lr",),
        weighs=False,
        settings={"aggregation.server-lr": 1.0, "train.lr": 1.0},
        requires={"train.optimizer": "sgd"},
        sends=("control",),
        part="fedretune.strategies.scaffold:Scaffold",
    ),
    "fednova": Traits(part="fedretune.strategies.fednova:FedNova"),
    "fisher": Traits(("floor",), part="fedretune.strategies.fisher:Fisher"),
    "regmean": Traits(("shrink",), part="fedretune.strategies.regmean:RegMean"),
}


def traits_of(strategy: str) -> Traits:
    """Return what is known of a strategy. Raises `UserError` if there is none of that name."""
    return STRATEGIES[one_of("strategy", strategy, STRATEGIES)]


def part_of(strategy: str, parameters: Parameters) -> "SitePart":
    """Return the site's part in a strategy. Raises `UserError` as `traits_of` does."""
    module, _, attribute = traits_of(strategy).part.partition(":")
    part: SitePart = getattr(import_module(module), attribute)(parameters)
    return part


def check_sites(strategy: str, parameters: Parameters, sites: int, where: str) -> None:
    """Raise `UserError` if a strategy cannot aggregate so few; `where` says which they are."""
    traits = traits_of(strategy)
    needed = traits.least(parameters)
    if sites < needed:
        given = ", ".join(
            f"aggregation.{name.replace('_', '-')} = {parameters[name]:g}"
            for name in traits.parameters
        )
        raise UserError(
            f"strategy = {strategy} with {given} needs at least {needed} sites, and {where} "
            f"{sites}: change that, or take another strategy."
        )
