"""``fedretune privacy attack``: who was trained on, as a run's adaptor or its updates tell."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli import options
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.console import console, say
from fedretune.cli.privacy_membership import (
    ALL,
    ANOTHER,
    BY_UPDATE,
    UNTRAINED,
    Group,
    record,
    separations,
)
from fedretune.cli.privacy_world import run_folder, world_of
from fedretune.errors import UserError, one_of
from fedretune.privacy.attacks import MEMBERSHIP

if TYPE_CHECKING:
    from fedretune.privacy.measures import Separation

ATTACKS = (*MEMBERSHIP, *BY_UPDATE, "inversion", "prevalence", "canary")
#: What is asked in the place of a run's adaptor or of a site's update.
_CONTROLS = {
    UNTRAINED: "an adaptor that saw nobody",
    ANOTHER: "the update of a site that has none of these images",
}


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
    for control, what in _CONTROLS.items():
        if any(group.site == control for group, _ in rows):
            say(
                f"{control.capitalize()}: what the same attack makes of {what}, as the two sides "
                "differ to begin with."
            )


def _figure(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f}\n{interval[0]:.3f}-{interval[1]:.3f}"


def _place(group: Group) -> str:
    experience = "" if group.experience == ALL else f"experience {group.experience}"
    return (
        " ".join(filter(None, ("" if group.site == ALL else escape(group.site), experience))) or ALL
    )
