"""A site's round under differential privacy: the mechanism, the account, and the budget."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from clients.memory import SiteMemory
from clients.world import World
from fedretune.backbones.moments import evening
from fedretune.errors import UserError
from fedretune.privacy.accounting import Release, Spending, noise_for, total_epsilon
from fedretune.privacy.dp import Mechanism, train_private
from fedretune.privacy.ledger import PrivacyLedger
from fedretune.privacy.noise import NoiseSource, Secure, Seeded
from fedretune.seeds import derive_seed
from fedretune.training import TrainingResult

if TYPE_CHECKING:
    from clients.site import Site, Task


def mechanism_of(world: World, site: str) -> Mechanism:
    """Return how a round of DP-SGD goes at a site, with the noise that the run's epsilon asks for.

    The run's epsilon is meant for the whole stream. Where no patient is in two experiences, each
    spends it on patients of its own; else all of them spend it together.
    """
    config, privacy = world.config, world.config.privacy
    noise = privacy.noise
    if not noise:
        experiences = 1 if disjoint(world, site) else world.scenario.steps
        steps = privacy.steps * config.rounds * experiences
        noise = noise_for(privacy.epsilon, privacy.delta, privacy.rate, steps)
    even = None if world.moments is None else evening(world.moments.second)
    return Mechanism(noise, privacy.clip, privacy.rate, privacy.steps, privacy.prior, even)


def learn_privately(
    site: "Site", task: "Task", where: tuple[int, int], memory: SiteMemory
) -> tuple[TrainingResult, dict[str, float | str]]:
    """Train a task's model; return the result, and what the reply says of privacy.

    The round is in the site's account before anything is trained, so that one that leaves is.

    Raises
    ------
    UserError
        It would spend more than the site's policy allows; or delta is no less than 1 over the
        number of units, which would allow to publish one of them.
    """
    world, config = site.world, site.world.config
    mechanism = mechanism_of(world, site.name)
    units = units_of(world, site.name, where[0])
    _check_delta(config.privacy.delta, int(units.max()) + 1, config.privacy.unit)
    source = _source(site, where)
    spent = Spending(mechanism.noise, mechanism.rate, mechanism.steps)
    run = f"{memory.folder.parent.parent.name}@{_cut(world, site.name)}"
    release = Release(run, *where, spent, source.name, disjoint(world, site.name))
    ledger = _noted(site, release, memory)
    visit = task.visit
    result = train_private(
        visit.model,
        visit.images,
        visit.labels,
        world.prompts,
        site.settings,
        mechanism,
        source,
        units,
    )
    of_run = [each for each in ledger.releases() if each.run == run]
    epsilon = total_epsilon(of_run, config.privacy.delta)
    return result, {"epsilon": epsilon, "noise-source": source.name}


def _noted(site: "Site", release: Release, memory: SiteMemory) -> PrivacyLedger:
    """Return the account with the round in it. Raises `UserError` if it may not be spent."""
    if site.rules is None:
        ledger = PrivacyLedger(memory.folder / "privacy.csv")
        ledger.note(release)
        return ledger
    ledger = site.rules.privacy
    with ledger.held():
        site.rules.check_budget(release)
        ledger.note(release)
    return ledger


def units_of(world: World, site: str, experience: int) -> torch.Tensor:
    """Return whose each image of a lesson is, from 0: a patient's, or its own."""
    rows = world.scenario.lesson(site, experience).rows
    if world.config.privacy.unit == "image":
        return torch.arange(len(rows))
    patients = world.manifest.table["patient"].to_numpy()[rows]
    whose: torch.Tensor = torch.from_numpy(np.unique(patients, return_inverse=True)[1])
    return whose


def disjoint(world: World, site: str) -> bool:
    """Return whether the manifest proves that no patient of one lesson is in another."""
    lessons = _patients(world, site)
    return sum(map(len, lessons)) == len(np.unique(np.concatenate(lessons)))


def _cut(world: World, site: str) -> str:
    """Return a fingerprint of who is in which lesson.

    A server may call two runs by one name and cut the patients otherwise in the second: whoever is
    in another experience there pays for both, so the account must not take them for one run.
    """
    found = hashlib.sha256(str(world.config.seed).encode())
    for patients in _patients(world, site):
        found.update(json.dumps([str(each) for each in patients]).encode())
    return found.hexdigest()[:16]


def _patients(world: World, site: str) -> list["np.ndarray[tuple[int], np.dtype[Any]]"]:
    """Return the patients of each lesson, each once."""
    patients = world.manifest.table["patient"].to_numpy()
    return [
        np.unique(patients[world.scenario.lesson(site, step).rows])
        for step in range(world.scenario.steps)
    ]


def _source(site: "Site", where: tuple[int, int]) -> NoiseSource:
    wanted = site.world.config.privacy.noise_source
    if site.rules is not None and wanted == "seeded":
        raise UserError(
            "The run asks for noise from a seed, which the server could take off again.",
            public="a real site's noise comes from its own machine: noise-source = auto or secure",
        )
    if wanted == "secure" or site.rules is not None:
        return Secure()
    return Seeded(derive_seed(site.world.config.seed, "noise", site.name, *where))


def _check_delta(delta: float, units: int, unit: str) -> None:
    if delta * units >= 1:
        raise UserError(
            f"privacy.delta is {delta:g}, and there are {units} {unit}s: it must be below 1 / "
            f"{units}, or publishing one of them whole would be private.",
            public=f"privacy.delta is not below 1 over its number of {unit}s",
        )
