"""``fedretune study lora``: the LoRA study's tasks, each tuned in several ways, in one table."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedretune.cli import (
    options,
    runs,
    study_lora_cells,
    study_lora_data,
    study_lora_federated,
)
from fedretune.cli.app_folder import find_app
from fedretune.cli.stopping import stoppable
from fedretune.cli.study_runs import report_failures, tell
from fedretune.errors import UserError, one_of
from fedretune.study.lora.datasets import DATA_SETS, ratios_in
from fedretune.study.lora.plan import LoraCell, Wanted
from fedretune.study.lora.recipes import MODELS, TUNINGS, Recipe, rates_in
from fedretune.study.plan import names_in, seeds_in

if TYPE_CHECKING:
    from fedretune.study.lora.report import LoraReport

Recipes = Mapping[LoraCell, Recipe]

_NAMES = "Names with commas; default: all."


def command(
    weights: Annotated[
        Path | None, typer.Option(help="The folder that holds MRM.pth and CXR_MAE.pth.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The folder that holds nih14/, chexpert/ and rsna/.")
    ] = None,
    models: Annotated[str, typer.Option(help=_NAMES)] = ",".join(MODELS),
    data_sets: Annotated[str, typer.Option(help=_NAMES)] = ",".join(DATA_SETS),
    ratios: Annotated[
        str | None,
        typer.Option(help="Per cent of the labels, with commas; default: 1,10,100."),
    ] = None,
    tunings: Annotated[str, typer.Option(help=_NAMES)] = ",".join(TUNINGS),
    fft_lr: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=RATE",
            help="Full fine-tuning's rate where the study's is not known; repeatable.",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Numbers with commas.")] = "1",
    blocks: Annotated[
        int, typer.Option(min=0, help="Tune the last so many blocks; 0: all, as the study does.")
    ] = 0,
    epochs: Annotated[
        int, typer.Option(min=0, help="Epochs of every cell; 0: those of its recipe.")
    ] = 0,
    augmentation: Annotated[
        str, typer.Option(help="`recipe`, or `none`: then frozen tokens are kept.")
    ] = "recipe",
    federated: Annotated[
        bool,
        typer.Option("--federated", help="Each cell as a simulation over sites and experiences."),
    ] = False,
    sites: options.Sites = None,
    experiences: options.Experiences = None,
    rounds: options.Rounds = None,
    settings: options.Setting = None,
    app: options.AppPath = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path, typer.Option(help="The study's folder.")] = Path("runs/study-lora"),
    quick: Annotated[
        bool, typer.Option("--quick", help="All cells, on phantoms, with two small ViTs.")
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=0, help="Cells at once; 0: one a core, or on a GPU one.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table to stdout.")] = False,
) -> None:
    """Tune two radiography models on three data sets with 1, 10 and 100% of the labels.

    By LoRA, whole, by a linear probe and by BitFit, with the study's recipes. Writes table.csv,
    table.md and a folder for each cell. Stopped or killed, the same command goes on where it was.
    """
    out = out.expanduser().absolute()
    ratios = ratios or ("10,100" if quick and federated else "1,10,100")
    wanted = _wanted(models, data_sets, ratios, tunings, seeds, _rates(fft_lr, quick))
    recipes = _changed(wanted.recipes(), quick, epochs, augmentation)
    where = _device(device)
    given = runs.given_keys(settings, sites=sites, experiences=experiences, rounds=rounds)
    base = _base(given, quick, federated)
    with stoppable(lambda: "What is drawn, read and encoded is kept: the same command goes on."):
        backbones = study_lora_data.prepare(wanted, weights, data, out, quick)
        if federated:
            folder = find_app(app)
            runs_of = study_lora_federated.prepare(folder, recipes, base, backbones, out, blocks)
        else:
            cells = study_lora_cells.prepare(recipes, backbones, out, blocks, where)
    if federated:
        done = study_lora_federated.run(folder, runs_of, out, jobs)
    else:
        done = study_lora_cells.run(cells, recipes, out, jobs or (1 if where == "cuda" else 0))
    _finish(*done, as_json)


def _base(given: dict[str, Any], quick: bool, federated: bool) -> dict[str, Any]:
    """Return the keys that all simulations share. Raises `UserError` where there are none."""
    from fedretune.study.lora.federated import base_of

    if given and not federated:
        raise UserError(f"{', '.join(given)}: of use with --federated alone.")
    return base_of(given, quick)


def _rates(fft_lr: list[str] | None, quick: bool) -> dict[str, float]:
    from fedretune.study.lora.quick import FFT_LR

    return {**(FFT_LR if quick else {}), **rates_in(fft_lr or [])}


def _wanted(
    models: str, data_sets: str, ratios: str, tunings: str, seeds: str, fft_lr: dict[str, float]
) -> Wanted:
    return Wanted(
        names_in(models, "--models"),
        names_in(data_sets, "--data-sets"),
        ratios_in(ratios),
        names_in(tunings, "--tunings"),
        seeds_in(seeds),
        fft_lr,
    )


def _changed(recipes: Recipes, quick: bool, epochs: int, augmentation: str) -> Recipes:
    """Return the recipes with what the command line changes of them, which makes them ours."""
    from fedretune.study.lora import quick as small

    one_of("augmentation", augmentation, ("recipe", "none"))
    changes: dict[str, Any] = {}
    if quick:
        changes |= {"epochs": small.EPOCHS, "warm_up": small.WARM_UP}
    if epochs:
        changes |= {"epochs": epochs}
    if augmentation == "none":
        changes |= {"augmentation": "none"}
    if not changes:
        return recipes
    return {cell: replace(each, **changes, source="ours") for cell, each in recipes.items()}


def _device(name: str) -> str:
    import torch

    one_of("device", name, ("auto", "cpu", "cuda"))
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UserError("The device 'cuda' is not there. Allowed: auto, cpu.")
    return "cuda" if there and name != "cpu" else "cpu"


def _finish(report: "LoraReport", failed: Mapping[str, str], as_json: bool) -> None:
    """Show the table, and where all of it is. Raises `RunFailedError` if there is less."""
    from fedretune.study.lora.report import by_task, verdict
    from fedretune.study.tables import markdown

    lines: list[str] = []
    if report.rows:
        frame = report.frame()
        lines = [*markdown(by_task(frame)), "", *verdict(frame)]
    tell(report, lines, "Test AUROC. Costs, and what each column means:", as_json)
    report_failures(failed, len(report.order))
