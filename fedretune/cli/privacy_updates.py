"""What each update of a recorded run gives away: the half of ``privacy attack`` about the wire."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fedretune.adaptors import Spec, from_arrays, load
from fedretune.adaptors.files import Arrays
from fedretune.errors import UserError
from fedretune.privacy.attacks.alignment import by_alignment
from fedretune.privacy.attacks.inversion import invert
from fedretune.privacy.attacks.retrieval import cosines_to_truth, mean_baseline, re_identified
from fedretune.privacy.attacks.target import Examples
from fedretune.privacy.recorded import RecordedMessage, recorded

if TYPE_CHECKING:
    from fedretune.privacy.measures import Scores


@dataclass(frozen=True)
class Update:
    """What one site was sent in one round, and what it answered."""

    site: str
    experience: int
    round: int
    sent: Arrays
    answered: Arrays


@dataclass(frozen=True)
class Recovery:
    """What an inversion made of one update.

    Parameters
    ----------
    site : str
    experience, round : int
    images : int
        That the site trained on: a batch of one is what the attack is made for.
    cosine, baseline : float
        With the nearest of those: of the recovered vector, and of the mean of all candidates.
    re_identified : bool
        Whether the nearest of all candidates is one of them.
    """

    site: str
    experience: int
    round: int
    images: int
    cosine: float
    baseline: float
    re_identified: bool


def updates_of(run: Path) -> Iterator[Update]:
    """Yield the updates that a run recorded.

    Raises `UserError` if it recorded none, or none with the whole adaptor in it.
    """
    sent: dict[tuple[str, int, int], RecordedMessage] = {}
    whole = False
    for each in recorded(run):
        if each.kind != "train":
            continue
        where = (each.site, each.experience, each.round)
        if each.direction == "down":
            sent[where] = each
        elif where in sent and "adaptor" in (answered := each.arrays()):
            whole = True
            yield Update(*where, sent[where].arrays()["adaptor"], answered["adaptor"])
    if not whole:
        raise UserError(
            f"No reply that {run} recorded holds an adaptor as it was trained: attack a run with "
            "compression = none."
        )


def recoveries(run: Path, world: Any) -> list[Recovery]:
    """Invert each update, and compare with all training and evaluation images of the run.

    The evaluation images are also what the attacker knows of images at large.
    """
    spec, scenario = _spec(run), world.scenario
    splits = ("train", world.config.evaluation_split)
    rows = np.unique(np.concatenate([scenario.rows(s, x) for s in scenario.sites for x in splits]))
    gallery = torch.from_numpy(world.embeddings.take(rows))
    held_out = np.concatenate([scenario.rows(s, splits[1]) for s in scenario.sites])
    public = world.embeddings.take(np.unique(held_out))
    found = []
    for each in updates_of(run):
        taught = np.searchsorted(rows, scenario.lesson(each.site, each.experience).rows)
        vector = torch.from_numpy(invert(spec, each.sent, each.answered, public)).float()[None]
        truth = gallery[taught]
        near = re_identified(vector.expand_as(truth), gallery, torch.from_numpy(taught))
        found.append(
            Recovery(
                each.site,
                each.experience + 1,
                each.round + 1,
                len(taught),
                float(cosines_to_truth(vector.expand_as(truth), truth).max()),
                float(mean_baseline(gallery, truth).max()),
                bool(near.any()),
            )
        )
    return found


def alignments(run: Path, world: Any) -> "list[tuple[str, int, Scores, Scores]]":
    """Return site, experience, and scores of who was trained on and of who was not.

    Of the first round of each experience: later ones start nearer to where they go. Those who were
    not are the site's evaluation images of the experience.
    """
    spec, scenario, found = _spec(run), world.scenario, []
    for each in updates_of(run):
        if each.round:
            continue
        inside = scenario.lesson(each.site, each.experience).rows
        outside = scenario.shard(each.site, each.experience, world.config.evaluation_split)
        rows = np.concatenate([inside, outside])
        images, labels = world.embeddings.take(rows), world.labels[rows]
        candidates = Examples(torch.from_numpy(images), torch.from_numpy(labels))
        change = {
            name: torch.from_numpy(each.answered[name] - each.sent[name]) for name in each.sent
        }
        model, pooling = from_arrays(spec, each.sent), world.config.pooling
        scores = by_alignment(model, change, candidates, world.prompts, pooling).double().numpy()
        halves = scores[: len(inside)], scores[len(inside) :]
        found.append((each.site, each.experience + 1, *halves))
    return found


def summary_of(found: list[Recovery]) -> dict[str, Any]:
    """Return the means over all updates, and each."""
    return {
        "updates": len(found),
        "images": float(np.mean([each.images for each in found])),
        "cosine": float(np.mean([each.cosine for each in found])),
        "cosine_least": min(each.cosine for each in found),
        "baseline": float(np.mean([each.baseline for each in found])),
        "re_identified": float(np.mean([each.re_identified for each in found])),
        "each": [asdict(each) for each in found],
    }


def _spec(run: Path) -> Spec:
    return load(run / "adaptors.safetensors")[0]
