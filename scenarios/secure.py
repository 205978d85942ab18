"""What of a run goes together with secure aggregation, and what does not."""

import math
from typing import TYPE_CHECKING

from fedretune.adaptors import Spec
from fedretune.errors import UserError
from fedretune.privacy.secure import fixed
from fedretune.privacy.secure.fixed import FRACTION, UpdateCode
from fedretune.privacy.secure.ring import Ring
from fedretune.privacy.secure.threshold import FEWEST
from fedretune.wire import MAX_ITEMS
from scenarios.aggregation import taking_part

if TYPE_CHECKING:
    from scenarios.config import RunConfig


def check_secure(config: "RunConfig") -> None:
    """Raise `UserError` for a run that needs more of its sites than the sum, or has too few."""
    if not config.secure_aggregation:
        return
    _check_strategy(config)
    if config.compression != "none":
        raise UserError(
            f"compression = {config.compression} does not add up under masks, so it does not go "
            "with secure-aggregation, which sends 5 to 8 bytes a number: leave compression out."
        )
    if config.attack:
        raise UserError(
            f"attack = {config.attack} changes the adaptors that sites send, and with "
            "secure-aggregation none sends one: leave one of them out."
        )
    _check_sites(config)
    examples = max(config.nodes, FEWEST) * config.secure_examples
    Ring.holding(examples * math.ceil(config.secure_clip * 2**FRACTION))


def _check_strategy(config: "RunConfig") -> None:
    if not config.traits.from_mean:
        raise UserError(
            f"strategy = {config.strategy} needs each site's reply, and with secure-aggregation "
            "the server learns their sum alone: take fedavg, fedprox, fedavgm, fedadam, fedyogi or "
            "fedadagrad, or leave secure-aggregation out."
        )
    if config.averaging == "equal":
        raise UserError(
            "averaging = equal does not go with secure-aggregation, whose sums are of what sites "
            "have multiplied by their examples: leave one of them out."
        )
    if config.how.arrangement == "local":
        raise UserError(
            f"Method '{config.method}' leaves each site an adaptor of its own, and with "
            "secure-aggregation no site sends one: take another method, or leave "
            "secure-aggregation out."
        )


def _check_sites(config: "RunConfig") -> None:
    """Raise `UserError` if a round has too few sites, as far as it is known how many there are."""
    if not config.nodes:
        return
    sites = taking_part(config.nodes, config.participation)
    check_summed(sites, "a round has")
    if sites > MAX_ITEMS:
        raise UserError(
            f"secure-aggregation lists every site of a round in each message, which may list "
            f"{MAX_ITEMS}, and a round has {sites}: lower participation, or leave it out."
        )


def check_summed(sites: int, where: str) -> None:
    """Raise `UserError` if so few sites cannot be summed; `where` says which they are."""
    if sites < FEWEST:
        raise UserError(
            f"secure-aggregation needs at least {FEWEST} sites, and {where} {sites}: in a sum of "
            "two, each knows the other's part. Take more sites, or leave secure-aggregation out."
        )


def update_code(config: "RunConfig", adaptor: Spec, findings: int) -> UpdateCode:
    """Return how the updates of an adaptor become vectors that are summed."""
    shapes = {name: shape for name, (shape, _) in adaptor.tensors().items()}
    counted = config.counted(findings)
    by_finding = tuple(name for name in adaptor.by_finding if counted and name in shapes)
    return UpdateCode(shapes, config.secure_clip, by_finding, counted)


def update_ring(config: "RunConfig", code: UpdateCode, sites: int) -> Ring:
    """Return the ring in which the updates of so many sites are summed. Raises `UserError`."""
    return code.ring(sites * config.secure_examples, sites)


def counts_ring(config: "RunConfig", sites: int) -> Ring:
    """Return the ring in which the histograms of so many sites are summed. Raises `UserError`."""
    return fixed.counts_ring(sites * config.secure_examples)
