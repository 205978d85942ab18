"""Who trains what when: each function gives every site its way through the stream.

A schedule comes from the config and three counts alone, so that the server, which sees no
manifest, can draw it as well as a site can.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedretune.errors import UserError
from fedretune.registry import Registry
from fedretune.seeds import derive_seed

if TYPE_CHECKING:
    from scenarios.config import RunConfig

#: Adding a schedule is one function and one line here. Each is called with the config and the
#: numbers of sites, experiences and findings, and returns a `Schedule`.
SCHEDULES = Registry(
    "schedule",
    {
        "synchronous": "scenarios.schedules:synchronous",
        "asynchronous": "scenarios.schedules:asynchronous",
        "late-join": "scenarios.schedules:late_join",
        "partial-labels": "scenarios.schedules:partial_labels",
    },
)

#: For a site, the experiences that it trains at each step of the stream; none where it is absent.
SitePlan = tuple[tuple[int, ...], ...]

#: How much slower than the fastest a site may be, with ``asynchrony = pace``.
SLOWEST = 0.5


@dataclass(frozen=True)
class Schedule:
    """What each site trains at each step.

    Parameters
    ----------
    plan : tuple[SitePlan, ...]
        One a site, all of the same number of steps.
    labelled : bool array [sites, findings]
        The findings that each site's radiologists report.
    """

    plan: tuple[SitePlan, ...]
    labelled: NDArray[np.bool_]


def synchronous(config: "RunConfig", sites: int, experiences: int, findings: int) -> Schedule:
    """Take every site through the experiences in step, with all findings labelled."""
    return Schedule((_in_step(range(experiences)),) * sites, _all_labelled(sites, findings))


def asynchronous(config: "RunConfig", sites: int, experiences: int, findings: int) -> Schedule:
    """Give each site its own order of experiences, or its own pace (``asynchrony``)."""
    ways = _orders if config.asynchrony == "order" else _paces
    plan = tuple(_in_step(way) for way in ways(config.seed, sites, experiences))
    return Schedule(plan, _all_labelled(sites, findings))


def late_join(config: "RunConfig", sites: int, experiences: int, findings: int) -> Schedule:
    """Keep a share of the sites (``late-sites``) away before experience ``join-at``.

    At least one site is late and at least one is not. What a late site gathered before it
    joined is never trained. Raises `UserError` for one site alone, or for joining after the end.
    """
    if sites < 2:
        raise UserError(
            "Schedule 'late-join' needs 2 sites or more, one to start without the other, and the "
            f"run has {sites}: bring more sites, or choose schedule = synchronous."
        )
    if config.join_at > experiences:
        raise UserError(
            f"join-at is {config.join_at} and the stream has {experiences} experiences: late "
            f"sites would never join. Set join-at = {experiences} or less, or more experiences."
        )
    late = min(max(round(config.late_sites * sites), 1), sites - 1)
    rng = np.random.default_rng(derive_seed(config.seed, "schedule", "late-join"))
    absent = set(rng.permutation(sites)[:late].tolist())
    whole = _in_step(range(experiences))
    joined = ((),) * (config.join_at - 1) + whole[config.join_at - 1 :]
    plan = tuple(joined if site in absent else whole for site in range(sites))
    return Schedule(plan, _all_labelled(sites, findings))


def partial_labels(config: "RunConfig", sites: int, experiences: int, findings: int) -> Schedule:
    """Let each site label a share of the findings (``labelled-share``), at least one.

    Each takes those that the fewest before it took, in random order, so that all findings are
    labelled somewhere wherever the sites together label that many.
    """
    share = max(round(config.labelled_share * findings), 1)
    rng = np.random.default_rng(derive_seed(config.seed, "schedule", "partial-labels"))
    labelled = np.zeros((sites, findings), dtype=np.bool_)
    for site in range(sites):
        takers = labelled.sum(axis=0)
        labelled[site, np.lexsort((rng.random(findings), takers))[:share]] = True
    return Schedule((_in_step(range(experiences)),) * sites, labelled)


def _orders(seed: int, sites: int, experiences: int) -> list[list[int]]:
    return [
        np.random.default_rng(derive_seed(seed, "schedule", site)).permutation(experiences).tolist()
        for site in range(sites)
    ]


def _paces(seed: int, sites: int, experiences: int) -> list[list[int]]:
    speeds = np.array(
        [
            np.random.default_rng(derive_seed(seed, "schedule", site)).uniform(SLOWEST, 1)
            for site in range(sites)
        ]
    )
    speeds /= speeds.max()  # The fastest keeps step with the stream, so that it does end.
    return [[int(step * speed) for step in range(experiences)] for speed in speeds]


def _in_step(experiences: "range | list[int]") -> SitePlan:
    return tuple((experience,) for experience in experiences)


def _all_labelled(sites: int, findings: int) -> NDArray[np.bool_]:
    return np.ones((sites, findings), dtype=np.bool_)
