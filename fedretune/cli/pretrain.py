"""``fedretune backbones pretrain``: make the embedded backbone anew."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fedretune.cli.backbones import AsJson, tell_folder


def command(
    out: Annotated[Path, typer.Argument(help="Folder for the model; must be empty or not exist.")],
    minutes: Annotated[
        float, typer.Option(help="Time for the model on two idle cores; fixes the steps taken.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of patients, weights and reports.")] = 0,
    tower: Annotated[
        Literal["resnet", "vit"],
        typer.Option(help="resnet: phantom-clip. vit: taught by phantom-clip; LoRA goes into it."),
    ] = "resnet",
    as_json: AsJson = False,
) -> None:
    """Train phantom-clip on phantoms and templated reports, on this machine's CPU."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from fedretune.backbones.pretrain import pretrain, recipe_for
    from fedretune.backbones.pretrain.distil import Distilling, distil

    recipe = Distilling.of(minutes) if tower == "vit" else recipe_for(minutes)
    with Progress(console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int, remark: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, description=f"{what} ({remark})")

        if isinstance(recipe, Distilling):
            folder = distil(out, recipe, seed, report)
        else:
            folder = pretrain(out, recipe, seed, report)
    tell_folder(folder, as_json)
