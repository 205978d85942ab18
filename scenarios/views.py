"""Other ways through the same images: the references that a stream is measured against."""

from dataclasses import replace

import numpy as np

from fedretune.errors import UserError
from scenarios.stream import Scenario

#: The one site of a pooled scenario.
CENTRAL = "central"


def at_once(scenario: Scenario, withheld: bool) -> Scenario:
    """Return one step in which every site trains all its experiences, late ones' too.

    Parameters
    ----------
    scenario : Scenario
    withheld : bool
        Whether each image keeps the labels of its own experience alone, as the stream shows
        them; otherwise it has those of all findings.

    Returns
    -------
    A scenario over the same shards, so that every experience can still be evaluated.
    """
    trained = scenario.trained if withheld else (scenario.findings,) * scenario.experiences
    everything = (tuple(range(scenario.experiences)),)
    return replace(scenario, trained=trained, plan=(everything,) * len(scenario.sites))


def pooled(scenario: Scenario) -> Scenario:
    """Return the stream of one site, named "central", that holds all hospitals' images.

    Each image keeps the labels that its own hospital gave it.

    Raises
    ------
    UserError
        The hospitals train different experiences at one step, so there is no stream to pool.
    """
    if len(set(scenario.plan)) > 1:
        raise UserError(
            "'central' holds all sites' images and follows one stream, and here each site "
            "has its own: it needs schedule = synchronous or partial-labels."
        )
    return replace(
        scenario, sites=(CENTRAL,), site=np.zeros_like(scenario.site), plan=scenario.plan[:1]
    )
