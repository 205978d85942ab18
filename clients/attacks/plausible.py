"""Attacks whose replies are well formed: only the other sites' replies can give them away."""

from dataclasses import replace

import numpy as np

from clients.attacks.answer import Answer, Scene, update_of
from clients.site import Site

BOAST = 1000


def sign_flip(scene: Scene) -> list[Answer]:
    """Learn backwards: ``start - strength * update``."""
    return [scene.moved({name: -scene.strength * each for name, each in scene.update().items()})]


def scaled(scene: Scene) -> list[Answer]:
    """Push `strength` times as far as the others do: ``start + strength * update``.

    With enough of it one site outvotes all (model replacement, Bagdasaryan et al. 2020,
    arXiv 1807.00459).
    """
    return [scene.moved({name: scene.strength * each for name, each in scene.update().items()})]


def gaussian(scene: Scene) -> list[Answer]:
    """Send noise, `strength` times as large as the update: tensor by tensor, by root mean square.

    Gaussian Byzantine workers are of Blanchard et al. 2017 (arXiv 1703.02757); theirs have one
    fixed, large variance.
    """
    noise = {
        name: scene.random.normal(0.0, scene.strength * np.sqrt(np.square(each).mean()), each.shape)
        for name, each in scene.update().items()
    }
    return [scene.moved(noise)]


def alie(scene: Scene) -> list[Answer]:
    """A little is enough (Baruch et al. 2019, arXiv 1902.06156).

    All attackers send ``mean - strength * standard deviation`` of their own honest updates,
    coordinate by coordinate (the paper's z): near enough to the others to pass for one of them.
    A lone attacker knows no deviation, and so sends its honest update.
    """
    updates = [update_of(each, scene.start) for each in scene.accomplices]
    crafted = {}
    for name in updates[0]:
        stacked = np.stack([each[name] for each in updates])
        crafted[name] = stacked.mean(0) - scene.strength * stacked.std(0)
    return [scene.moved(crafted)]


def boast(scene: Scene) -> list[Answer]:
    """Learn backwards, on `BOAST` times as many examples as there are.

    The handshake announces as many, so that a mean weighted by examples is the attacker's.
    """
    (answer,) = sign_flip(scene)
    examples = int(str(scene.honest.scalars["metrics"]["num-examples"]))
    return [answer.with_metrics({"num-examples": BOAST * examples})]


def with_flipped_labels(site: Site) -> Site:
    """Return the site with present and absent findings exchanged; unlabelled ones stay so."""
    return replace(site, world=replace(site.world, labels=1 - site.world.labels))
