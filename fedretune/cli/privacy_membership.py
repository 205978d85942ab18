"""Who was trained on, of everybody and of parts: the attacks on membership of a run."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedretune.privacy.attacks import MEMBERSHIP
from fedretune.seeds import derive_seed

if TYPE_CHECKING:
    import numpy as np

    from fedretune.privacy.attacks.target import Target
    from fedretune.privacy.measures import Scores, Separation

    #: Where from; the scores of who was trained on, and of who was not.
    Scored = tuple["Group", Scores, Scores]

#: Of everybody, in the places of a site and an experience.
ALL = "all"
#: In the place of a site, the controls: an adaptor that was trained on nobody; the updates of sites
#: that trained on none of those who are asked about.
UNTRAINED, ANOTHER = "untrained", "another site"
CONTROLS = (UNTRAINED, ANOTHER)
#: Those that ask what each site sent, which the run must have recorded.
BY_UPDATE = ("alignment", "span")


@dataclass(frozen=True)
class Group:
    """Where a candidate is from."""

    site: str
    experience: str


def separations(
    attack: str, run: Path, world: Any, shadows: int, seed: int, candidates: int = 0
) -> "list[tuple[Group, Separation]]":
    """Return what an attack on membership finds: of everybody, then of parts.

    Shadows are trained on half of the candidates, so that fewer of these are asked sooner, and told
    less well: fewer images are learnt more by heart than the run's were.
    """
    if attack in BY_UPDATE:
        return _measured(_by_update(attack, run, world), seed)
    return _measured(_by_model(attack, _target(run, world, shadows, seed, candidates)), seed)


def _by_model(attack: str, given: "tuple[Target, list[Group]]") -> "list[Scored]":
    """Return the scores of everybody, of each site and of each experience, and the control's."""
    target, groups = given
    count = len(target.members)

    def scores(of: "Target") -> "Scores":
        found: Scores = MEMBERSHIP[attack](of).double().numpy()
        return found

    found, control = scores(target), scores(_control(target))
    everybody, *others = [
        (group, found[:count][inside[:count]], found[count:][inside[count:]])
        for group, inside in _groups(groups)
    ]
    return [everybody, (Group(UNTRAINED, ALL), control[:count], control[count:]), *others]


def _control(target: "Target") -> "Target":
    """Return the same question of an adaptor that was trained on nobody.

    What that seems to tell is how members and others differ to begin with: only what is beyond it
    is due to training.
    """
    from fedretune.adaptors import build

    return target.asked_of(build(target.model.spec, target.seed))


def _by_update(attack: str, run: Path, world: Any) -> "list[Scored]":
    """Return the scores of all updates together, of their controls, and of each."""
    import numpy as np

    from fedretune.cli.privacy_updates import alignments, spans

    found = spans(run, world) if attack == "span" else alignments(run, world)
    scored = [(each.inside, each.outside) for each in found]
    controls = [each.control for each in found if each.control]

    def together(group: Group, pairs: "list[tuple[Scores, Scores]]") -> "Scored":
        inside, outside = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        return group, inside, outside

    return [
        together(Group(ALL, ALL), scored),
        *([together(Group(ANOTHER, ALL), controls)] if controls else []),
        *((Group(each.site, str(each.experience)), each.inside, each.outside) for each in found),
    ]


def _measured(pairs: "list[Scored]", seed: int) -> "list[tuple[Group, Separation]]":
    from fedretune.privacy.measures import separation

    return [
        (group, separation(inside, outside, seed))
        for group, inside, outside in pairs
        if len(inside) and len(outside)
    ]


def _target(
    run: Path, world: Any, shadows: int, seed: int, candidates: int
) -> "tuple[Target, list[Group]]":
    """Return the run's final adaptor with its candidates, and where each candidate is from."""
    import numpy as np
    import torch

    from fedretune.adaptors import from_arrays, load
    from fedretune.privacy.attacks.target import Examples, Target
    from fedretune.training import TrainingSettings

    config = world.config
    sides: list[Examples] = []
    groups: list[Group] = []
    everybody = np.zeros(0, dtype=np.int64)
    for split in ("train", config.evaluation_split):
        rows = _some(_rows(world.scenario, split), candidates, seed)
        groups += [group for _, group in rows]
        positions = np.array([row for row, _ in rows], dtype=np.int64)
        everybody = np.concatenate([everybody, positions])
        images = torch.from_numpy(world.embeddings.take(positions))
        sides.append(Examples(images, torch.from_numpy(world.labels[positions])))
    spec, arrays, _ = load(run / "adaptors.safetensors")
    keys = config.train.model_dump()
    patients = world.manifest.table["patient"].to_numpy()[everybody]
    units = torch.from_numpy(np.unique(patients, return_inverse=True)[1])
    settings = TrainingSettings(
        **{**keys, "epochs": keys["epochs"] * config.rounds}, pooling=config.pooling
    )
    model, (members, others) = from_arrays(spec, arrays), sides
    return Target(model, members, others, world.prompts, settings, shadows, seed, units), groups


def _rows(scenario: Any, split: str) -> list[tuple[int, Group]]:
    """Return the manifest's rows that a run trained on or that are of a split; each once."""
    found: dict[int, Group] = {}
    for site in scenario.sites:
        if split == "train":
            rows = [r for step in range(scenario.steps) for r in scenario.lesson(site, step).rows]
        else:
            rows = list(scenario.rows(site, split))
        for row in rows:
            found[int(row)] = Group(site, str(int(scenario.experience[row]) + 1))
    return list(found.items())


def _some(rows: list[tuple[int, Group]], count: int, seed: int) -> list[tuple[int, Group]]:
    """Return so many of the rows, drawn by the seed; all for 0."""
    import numpy as np

    order = np.random.default_rng(derive_seed(seed, "candidates")).permutation(len(rows))
    return [rows[place] for place in order[:count]] if count else rows


def _groups(groups: list[Group]) -> "list[tuple[Group, np.ndarray]]":
    """Return everybody, each site and each experience, with who is in it."""
    import numpy as np

    found = [(Group(ALL, ALL), np.ones(len(groups), dtype=bool))]
    for site in dict.fromkeys(each.site for each in groups):
        found.append((Group(site, ALL), np.array([each.site == site for each in groups])))
    for step in dict.fromkeys(each.experience for each in groups):
        found.append((Group(ALL, step), np.array([each.experience == step for each in groups])))
    return found


def record(group: Group, found: "Separation") -> dict[str, Any]:
    """Return a group's figures as `json.dumps` can write them."""
    return {**asdict(group), **asdict(found), "enough": found.enough}
