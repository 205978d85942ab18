"""A site's round under differential privacy: the mechanism, the account, and the budget."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from clients.memory import SiteMemory
from clients.world import World
from fedretune.errors import UserError
from fedretune.privacy.accounting import Release, Spending, noise_for, total_epsilon
from fedretune.privacy.dp import Mechanism, train_private
from fedretune.privacy.ledger import PrivacyLedger
from fedretune.privacy.noise import NoiseSource, Secure, Seeded
from fedretune.seeds import derive_seed
from fedretune.training import TrainingResult
from scenarios import RunConfig

if TYPE_CHECKING:
    from clients.site import Site, Task


def mechanism_of(config: RunConfig) -> Mechanism:
    """Return how a round of DP-SGD goes, with the noise that the run's epsilon asks for.

    The run's epsilon is meant for the whole stream. Where patients are dealt to experiences, each
    experience spends it on patients of its own; else all of them spend it together.
    """
    privacy = config.privacy
    noise = privacy.noise
    if not noise:
        experiences = 1 if config.arrival == "patients" else config.experiences
        steps = privacy.steps * config.rounds * experiences
        noise = noise_for(privacy.epsilon, privacy.delta, privacy.rate, steps)
    return Mechanism(noise, privacy.clip, privacy.rate, privacy.steps)


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
    mechanism = mechanism_of(config)
    units = units_of(world, site.name, where[0])
    _check_delta(config.privacy.delta, int(units.max()) + 1, config.privacy.unit)
    source = _source(site, where)
    spent = Spending(mechanism.noise, mechanism.rate, mechanism.steps)
    run = memory.folder.parent.parent.name
    release = Release(run, *where, spent, source.name, disjoint(world, site.name))
    ledger = PrivacyLedger(memory.folder / "privacy.csv")
    if site.rules is not None:
        site.rules.check_budget(release)
        ledger = site.rules.privacy
    ledger.note(release)
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
    patients = world.manifest.table["patient"].to_numpy()
    lessons = [
        np.unique(patients[world.scenario.lesson(site, step).rows])
        for step in range(world.scenario.steps)
    ]
    return sum(map(len, lessons)) == len(np.unique(np.concatenate(lessons)))


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
