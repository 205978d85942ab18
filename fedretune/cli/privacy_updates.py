"""What each update of a recorded run gives away: the half of ``privacy attack`` about the wire."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fedretune.adaptors import Spec, from_arrays, load
from fedretune.adaptors.files import Arrays
from fedretune.cli.privacy_world import rows_of
from fedretune.errors import UserError
from fedretune.privacy.attacks.alignment import by_alignment
from fedretune.privacy.attacks.inversion import invert
from fedretune.privacy.attacks.retrieval import cosines_to_truth, mean_baseline, re_identified
from fedretune.privacy.attacks.span import by_span
from fedretune.privacy.attacks.target import Examples
from fedretune.privacy.recorded import RecordedMessage, recorded
from fedretune.seeds import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedretune.privacy.measures import Scores


#: Images that are asked about, of those trained on in an update and of those not: each asks for a
#: gradient of its own.
MOST = 100
#: In the place of a site, where the server sees no more than their sum.
SUM = "sum of all"


@dataclass(frozen=True)
class Update:
    """What one site was sent in one round, and what it answered; or, of a secure sum, the mean."""

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


def updates_of(run: Path, world: Any) -> Iterator[Update]:
    """Yield the updates that a server saw, of a run that recorded them.

    Raises `UserError` if it recorded none, or none with the whole adaptor in it.
    """
    if world.config.compression_down != "none":
        raise UserError(
            f"{run} sent its sites updates of the global adaptor, not the adaptor itself: attack a "
            "run with compression-down = none."
        )
    found = _sums(run) if world.config.secure_aggregation else _answers(run)
    first = next(found, None)
    if first is None:
        raise UserError(
            f"No reply that {run} recorded holds an adaptor as it was trained: attack a run with "
            "compression = none, and of a secure sum one of two rounds or more."
        )
    yield first
    yield from found


def _answers(run: Path) -> Iterator[Update]:
    sent: dict[tuple[str, int, int], RecordedMessage] = {}
    for each in recorded(run):
        where = (each.site, each.experience, each.round)
        if each.kind == "train" and each.direction == "down":
            sent[where] = each
        elif each.kind == "train" and where in sent and "adaptor" in (answered := each.arrays()):
            yield Update(*where, sent[where].arrays()["adaptor"], answered["adaptor"])


def _sums(run: Path) -> Iterator[Update]:
    """Yield what sites together made of each round's adaptor: the next round's."""
    rounds: dict[tuple[int, int], RecordedMessage] = {}
    for each in recorded(run):
        if each.kind == "train" and each.direction == "down":
            rounds.setdefault((each.experience, each.round), each)
    for before, after in pairwise(rounds.values()):
        sent, answered = (each.arrays()["adaptor"] for each in (before, after))
        yield Update(SUM, before.experience, before.round, sent, answered)


def sites_of(world: Any, update: Update) -> list[str]:
    """Return the sites that an update is of."""
    return list(world.scenario.sites) if update.site == SUM else [update.site]


def taught(world: Any, update: Update) -> "NDArray[np.int64]":
    """Return the manifest's rows that were trained on in an update."""
    sites = sites_of(world, update)
    rows = [world.scenario.lesson(site, update.experience).rows for site in sites]
    found: NDArray[np.int64] = np.unique(np.concatenate(rows))
    return found


def recoveries(run: Path, world: Any) -> list[Recovery]:
    """Invert each update, and compare with all training and evaluation images of the run.

    The evaluation images are also what the attacker knows of images at large.
    """
    spec, split = _spec(run), world.config.evaluation_split
    rows = rows_of(world, "train", split)
    gallery = torch.from_numpy(world.embeddings.take(rows))
    public = world.embeddings.take(rows_of(world, split))
    found = []
    for each in updates_of(run, world):
        inside = np.searchsorted(rows, taught(world, each))
        vector = torch.from_numpy(invert(spec, each.sent, each.answered, public)).float()[None]
        truth = gallery[inside]
        near = re_identified(vector.expand_as(truth), gallery, torch.from_numpy(inside))
        found.append(
            Recovery(
                each.site,
                each.experience + 1,
                each.round + 1,
                len(inside),
                float(cosines_to_truth(vector.expand_as(truth), truth).max()),
                float(mean_baseline(gallery, truth).max()),
                bool(near.any()),
            )
        )
    return found


@dataclass(frozen=True)
class Asked:
    """Scores of who was trained on in an update and of who was not; and the control's.

    Parameters
    ----------
    site : str
    experience : int
        From 1.
    inside, outside : ndarray
        Shape ``[k]`` each.
    control : (ndarray, ndarray) | None
        The same images' scores by what another site answered in that round, which trained on none
        of them; None where there is no other.
    """

    site: str
    experience: int
    inside: "Scores"
    outside: "Scores"
    control: "tuple[Scores, Scores] | None"


def alignments(run: Path, world: Any) -> list[Asked]:
    """Return how the gradients of images are aligned with updates.

    Of the first round of each experience: later ones start nearer to where they go. Those who were
    not trained on are the evaluation images of the experience at the sites in question.
    """
    spec = _spec(run)

    def scored(each: Update, rows: "NDArray[np.int64]") -> "Scores":
        images, labels = world.embeddings.take(rows), world.labels[rows]
        candidates = Examples(torch.from_numpy(images), torch.from_numpy(labels))
        change = {
            name: torch.from_numpy(each.answered[name] - each.sent[name]) for name in each.sent
        }
        model, pooling = from_arrays(spec, each.sent), world.config.pooling
        found = by_alignment(model, change, candidates, world.prompts, pooling)
        scores: Scores = found.double().numpy()
        return scores

    return list(_asked(run, world, scored))


def spans(run: Path, world: Any) -> list[Asked]:
    """Return the shares of images that lie in the span of updates, of the same images."""
    spec = _spec(run)

    def scored(each: Update, rows: "NDArray[np.int64]") -> "Scores":
        return by_span(spec, each.sent, each.answered, world.embeddings.take(rows))

    return list(_asked(run, world, scored))


def _asked(
    run: Path, world: Any, scored: "Callable[[Update, NDArray[np.int64]], Scores]"
) -> Iterator[Asked]:
    scenario, split = world.scenario, world.config.evaluation_split
    first = (each for each in updates_of(run, world) if not each.round)
    for experience, of_round in groupby(first, lambda each: each.experience):
        updates = list(of_round)
        for each, other in zip(updates, [*updates[1:], updates[0]], strict=True):
            tested = [scenario.shard(site, experience, split) for site in sites_of(world, each)]
            seed = derive_seed(world.config.seed, "asked", each.site, experience)
            inside = _some(taught(world, each), seed)
            rows = np.concatenate([inside, _some(np.concatenate(tested), seed)])
            both = [scored(update, rows) for update in (each, other)]
            halves = [(found[: len(inside)], found[len(inside) :]) for found in both]
            control = None if other is each else halves[1]
            yield Asked(each.site, experience + 1, *halves[0], control)


def _some(rows: "NDArray[np.int64]", seed: int) -> "NDArray[np.int64]":
    """Return `MOST` of the rows, drawn by the seed, or all."""
    found: NDArray[np.int64] = np.random.default_rng(seed).permutation(rows)[:MOST]
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
