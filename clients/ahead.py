"""Training the sites of a round together, before each is asked: for a simulation on a GPU.

A simulation sees all messages of a round at once, so its sites can be one batched program
(`fedretune.together`). What each learnt waits in the world until its own message is answered, in
the usual way and past the usual guard.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from flwr.app import Context, Message

from clients.app import open_site, training_of
from clients.site import Site, Task
from fedretune.errors import UserError
from fedretune.together import Shard, train_together
from scenarios import RunConfig


@dataclass(frozen=True)
class _Asked:
    site: Site
    task: Task
    where: tuple[int, int]


def train_ahead(messages: Sequence[tuple[Message, Context]]) -> None:
    """Train together the sites that these messages ask to train.

    None where fewer than two are asked, and none that adds something to the loss. A site that
    cannot train is left to say so itself.
    """
    asked = [each for message, context in messages if (each := _asked(message, context))]
    if len(asked) < 2:
        return
    world = asked[0].site.world
    models = [each.task.visit.model for each in asked]
    results = train_together(
        models,
        [Shard(each.task.visit.images, each.task.visit.labels, each.task.seed) for each in asked],
        world.prompts,
        asked[0].site.settings,
        device_of(world.config),
    )
    for each, model, result in zip(asked, models, results, strict=True):
        world.learnt[(each.site.name, *each.where)] = model, result


def wanted(config: RunConfig) -> bool:
    """Return whether a simulation of this config trains its sites together."""
    return not (config.privacy.at_sites or config.tunes) and (
        config.batched == "always"
        or (config.batched == "auto" and device_of(config).type == "cuda")
    )


def device_of(config: RunConfig) -> torch.device:
    """Return where the steps are taken."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def _asked(message: Message, context: Context) -> _Asked | None:
    if message.metadata.message_type != "train":
        return None
    try:
        site = open_site(context)
        sent, where, memory = training_of(message, site)
        task = site.task(sent, *where, memory)
    except UserError:
        return None
    return None if task.terms else _Asked(site, task, where)
