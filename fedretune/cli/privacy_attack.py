"""``fedretune privacy attack``: who was trained on, as a run's adaptor or its updates tell."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli import options
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.console import console, say
from fedretune.cli.privacy_world import run_folder, world_of
from fedretune.errors import UserError, one_of
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
#: In the place of a site: an adaptor that was trained on nobody.
UNTRAINED = "untrained"
#: Those that ask what each site sent, which the run must have recorded.
BY_UPDATE = ("alignment", "span", "inversion")
ATTACKS = (*MEMBERSHIP, *BY_UPDATE, "prevalence", "canary")


@dataclass(frozen=True)
class Group:
    """Where a candidate is from."""

    site: str
    experience: str


def command(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    attack: Annotated[str, typer.Option(help=f"One of: {', '.join(ATTACKS)}.")] = "loss",
    shadows: Annotated[
        int, typer.Option(min=4, help="Adaptors that lira, rmia, prevalence train to compare with.")
    ] = 64,
    candidates: Annotated[
        int,
        typer.Option(min=0, help="Images a side that loss, lira and rmia ask about; 0: all."),
    ] = 0,
    canaries: Annotated[
        int, typer.Option(min=20, help="Patients that canary makes up, half of them to train on.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of shadows, canaries and the bootstrap.")] = 1,
    picture: Annotated[
        Path | None, typer.Option(help="Of inversion: a PNG of what comes back of one image.")
    ] = None,
    app: options.AppPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures to stdout.")] = False,
) -> None:
    """Ask who a run was trained on, and what they look like to the backbone.

    loss, lira and rmia ask the final adaptor of each training and each test image; AUC 0.5 tells
    nothing of anybody. Shadows are trained as the config says, without its noise. alignment and
    span ask the same, inversion for the images' vectors, and prevalence how many of a site's images
    have a finding, of what each site sent: of a run with --set record-wire=true. canary trains
    made-up patients as the run would, for the least epsilon that what it learns of them allows.

    Example: fedretune privacy attack runs/first --attack lira
    """
    one_of("attack on privacy", attack, ATTACKS)
    if picture:
        _check_picture(picture, attack)
    world = _world(find_app(app), run)
    if attack == "inversion":
        _recover(run, world, as_json)
        if picture:
            from fedretune.cli import privacy_picture

            privacy_picture.draw(run, world, picture)
        return
    if attack == "prevalence":
        from fedretune.cli import privacy_prevalence

        privacy_prevalence.tell(find_app(app), run, world, shadows, seed, as_json)
        return
    if attack == "canary":
        from fedretune.cli.privacy_canary import show

        show(find_app(app), world, canaries, seed, as_json)
        return
    rows = separations(attack, run, world, shadows, seed, candidates)
    if as_json:
        typer.echo(json.dumps({"attack": attack, "groups": [record(*row) for row in rows]}))
    else:
        _show(attack, rows)


def _check_picture(picture: Path, attack: str) -> None:
    """Raise `UserError` for a picture that cannot be drawn, before anything is computed."""
    if attack != "inversion":
        raise UserError(f"--picture is of --attack inversion, and the attack is {attack}.")
    if picture.suffix.lower() != ".png":
        raise UserError(f"--picture writes a PNG: name a file that ends in .png, not {picture}.")
    if not picture.absolute().parent.is_dir():
        raise UserError(f"There is no folder for {picture}: make it, or name another file.")


def _world(app: AppFolder, run: Path) -> Any:
    """Return the world of a run. Raises `UserError` if the run is not there, or not ended."""
    if not (run_folder(run) / "adaptors.safetensors").is_file():
        raise UserError(
            f"{run} has no adaptors.safetensors: attack a run that has ended, and of a method "
            "whose sites share an adaptor."
        )
    return world_of(app, run)


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
    """Return the scores of all updates together, and of each."""
    import numpy as np

    from fedretune.cli.privacy_updates import alignments, spans

    found = spans(run, world) if attack == "span" else alignments(run, world)
    each: list[Scored] = [(Group(site, str(step)), a, b) for site, step, a, b in found]
    inside, outside = (np.concatenate([row[side] for row in each]) for side in (1, 2))
    return [(Group(ALL, ALL), inside, outside), *each]


def _measured(pairs: "list[Scored]", seed: int) -> "list[tuple[Group, Separation]]":
    from fedretune.privacy.measures import separation

    return [
        (group, separation(inside, outside, seed))
        for group, inside, outside in pairs
        if len(inside) and len(outside)
    ]


def _recover(run: Path, world: Any, as_json: bool) -> None:
    from fedretune.cli.privacy_updates import recoveries, summary_of

    found = summary_of(recoveries(run, world))
    if as_json:
        typer.echo(json.dumps({"attack": "inversion", **found}))
        return
    say(
        f"{found['updates']} updates of {found['images']:.1f} images on average: the recovered "
        f"vector has a cosine of [bold]{found['cosine']:.4f}[/] with the nearest of them on "
        f"average, {found['cosine_least']:.4f} at least; the mean of all images has "
        f"{found['baseline']:.4f}. The nearest of all images is one of them in "
        f"[bold]{found['re_identified']:.1%}[/]."
    )


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


def _show(attack: str, rows: "list[tuple[Group, Separation]]") -> None:
    from rich.table import Table

    heads = ("of", "in, out", "AUC", "TPR at 1%", "TPR at 0.1%", "advantage")
    table = Table(*heads, title=f"Membership by {attack}")
    for group, found in rows:
        rates = [
            _figure(rate, interval) if found.enough else "n too small"
            for rate, interval in zip(found.tpr, found.tpr_intervals, strict=True)
        ]
        table.add_row(
            _place(group),
            f"{found.members}\n{found.others}",
            _figure(found.auc, found.auc_interval),
            *rates,
            f"{found.advantage:.3f}",
        )
    console.print(table)
    say(
        "Images trained on (in) and not (out). Below a figure: a bootstrap's middle 95 %. Fewer "
        "than 1,000 images out are too few for a rate."
    )
    if any(group.site == UNTRAINED for group, _ in rows):
        say(
            "Untrained: what the same attack makes of an adaptor that saw nobody, as the two sides "
            "differ to begin with."
        )


def _figure(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f}\n{interval[0]:.3f}-{interval[1]:.3f}"


def _place(group: Group) -> str:
    experience = "" if group.experience == ALL else f"experience {group.experience}"
    return (
        " ".join(filter(None, ("" if group.site == ALL else escape(group.site), experience))) or ALL
    )
