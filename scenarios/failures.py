"""When sites fail in a simulation: drawn from (seed, site, experience, round) alone."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np

from fedretune.errors import UserError, one_of
from fedretune.seeds import derive_seed

if TYPE_CHECKING:
    from scenarios.config import RunConfig

#: What becomes of a site in a round; nothing: it is well.
Fate = Literal["", "crash", "slow", "leave"]


@dataclass(frozen=True)
class Failures:
    """How often sites fail.

    Parameters
    ----------
    crash : float
        Probability, for each site and round, that its process ends while it trains.
    slow : float
        The same, that it answers too late.
    leave : float
        Probability, for each site and experience, that it leaves: it misses that experience and
        the next, and is back after.
    """

    crash: float = 0.0
    slow: float = 0.0
    leave: float = 0.0

    @classmethod
    def of(cls, text: str) -> "Failures":
        """Return the failures that a text such as ``crash:0.1, slow:0.1, leave:0.2`` asks for.

        Raises
        ------
        UserError
            Another text, a failure named twice, or a probability that is none.
        """
        given: dict[str, float] = {}
        for part in filter(None, (each.strip() for each in text.split(","))):
            name, colon, value = (each.strip() for each in part.partition(":"))
            one_of("failure", name, [each.name for each in fields(cls)])
            if not colon or name in given:
                raise UserError(_usage(text))
            given[name] = _probability(value, text)
        found = cls(**given)
        if found.crash + found.slow > 1:
            raise UserError(f"{_usage(text)} A site cannot crash and be slow in one round.")
        return found

    def fate(self, seed: int, site: int, experience: int, round_: int) -> Fate:
        """Return what becomes of a site, known by its position, in a round.

        `round_` is -1 for an evaluation: only who has left misses it.
        """
        leaves = (
            _uniform(seed, "leave", site, each) < self.leave
            for each in range(max(0, experience - 1), experience + 1)
        )
        if any(leaves):
            return "leave"
        drawn = _uniform(seed, "failure", site, experience, round_)
        if round_ < 0 or drawn >= self.crash + self.slow:
            return ""
        return "crash" if drawn < self.crash else "slow"


def check_attackers(config: "RunConfig") -> None:
    """Raise `UserError` for attackers without an attack, one without them, or too many of them."""
    if bool(config.attack) != bool(config.attackers):
        raise UserError(
            f"attack is '{config.attack}' and attackers is {config.attackers}: give both, or none."
        )
    if config.attack_strength and not config.attack:
        raise UserError("attack-strength is of no use without an attack.")
    if config.attack and config.compression != "none":
        raise UserError(
            f"compression is '{config.compression}', and attacks are on whole adaptors: set "
            "compression = none, or leave the attack out."
        )
    if config.nodes and config.attackers >= config.nodes:
        raise UserError(
            f"attackers is {config.attackers} and there are {config.nodes} sites: at least one "
            "site must be honest."
        )


def _uniform(*parts: object) -> float:
    return float(np.random.default_rng(derive_seed(*parts)).random())


def _probability(value: str, text: str) -> float:
    try:
        probability = float(value)
    except ValueError:
        raise UserError(_usage(text)) from None
    if not 0 <= probability <= 1:
        raise UserError(_usage(text))
    return probability


def _usage(text: str) -> str:
    return (
        f"failures is '{text}': give each of crash, slow and leave at most once, with a "
        "probability, such as crash:0.1, slow:0.1, leave:0.2."
    )
