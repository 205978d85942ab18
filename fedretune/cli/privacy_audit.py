"""``fedretune privacy audit``: what left, and that nothing else did."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli import options
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.console import console, say
from fedretune.cli.privacy_world import world_of
from fedretune.seeds import derive_seed

if TYPE_CHECKING:
    from fedretune.privacy.audit import Canaries, Canary, Verdict
    from fedretune.privacy.recorded import RecordedMessage

FILE, PAGE = "audit.json", "audit.html"
#: Objections that a terminal is shown.
SHOWN = 10


def command(
    run: Annotated[Path, typer.Argument(help="The folder of a run with record-wire = true.")],
    images: Annotated[
        int, typer.Option(min=1, help="How many images to search for, drawn by the seed.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of which images.")] = 1,
    app: options.AppPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict to stdout.")] = False,
) -> None:
    """Prove what left the sites of a recorded run, and that nothing else did.

    Each reply is held against the schema of what may leave and against its own bytes; the ledger
    against what was recorded; and images, their vectors and names are searched for in every
    message. Writes audit.json and audit.html into the run's folder. Exit code 1: it does not pass.

    Example: fedretune privacy audit runs/first
    """
    from fedretune.privacy.audit.page import page_of, sentence
    from fedretune.report.page import render

    with console.status("Reading the messages"):
        verdict = _audited(run, find_app(app), images, seed)
    (run / FILE).write_text(json.dumps(verdict.to_dict(), indent=1), encoding="utf-8")
    (run / PAGE).write_text(render(page_of(verdict)), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(verdict.to_dict()))
    say(sentence(verdict))
    for each in verdict.objections[:SHOWN]:
        say(f"- {escape(each)}")
    hits = sum(verdict.controls.values())
    say(f"Controls: {hits} of {len(verdict.controls)} hidden canaries were found.")
    say(f"For a person: {escape(str(run / PAGE))}; for a machine: {escape(str(run / FILE))}")
    if not verdict.passed:
        raise typer.Exit(1)


def _audited(run: Path, app: AppFolder, images: int, seed: int) -> "Verdict":
    from fedretune.privacy.audit import Canaries, Verdict, against_ledger, controls, left_of
    from fedretune.privacy.audit.verdict import totals_of
    from fedretune.privacy.recorded import recorded

    messages = recorded(run)
    world = world_of(app, run)
    planted = list(_canaries(world, images, seed))
    canaries = Canaries.of(planted)
    up = [each for each in messages if each.direction == "up"]
    unsound, found = _judged(app, world, up, canaries)
    objections = [*unsound, *against_ledger(up, _ledger(run))]
    largest = max(up, key=lambda each: each.size)
    return Verdict(
        run.resolve().name,
        len(up),
        sum(each.size for each in up),
        totals_of(up),
        left_of(up),
        [*objections, *found],
        len(planted),
        len(canaries.pieces),
        len(canaries.names),
        canaries.unsearched,
        len(found),
        controls(largest.content(), planted[0]),
    )


def _judged(
    app: AppFolder, world: Any, up: "list[RecordedMessage]", canaries: "Canaries"
) -> tuple[list[str], list[str]]:
    """Return what is wrong with replies, and what was found in them that must not be in any."""
    from fedretune.privacy.audit import Index, search_for

    objection, index = app.module("clients.audit").objection, Index(canaries)
    unsound, found = [], []
    for each in up:
        content = each.content()
        if why := objection(world, each.kind, content):
            unsound.append(f"{_place(each)}: {why}.")
        for hit in search_for(index, content):
            found.append(f"{_place(each)}: the {hit.form} of {hit.image} is in it, {hit.how}.")
    return unsound, found


def _canaries(world: Any, count: int, seed: int) -> "Iterator[Canary]":
    """Yield images of the run's sites, with all that they could leave as."""
    import numpy as np

    from fedretune.data.images import decode_image, read_image
    from fedretune.privacy.audit import Canary

    manifest = world.manifest
    rng = np.random.default_rng(derive_seed(seed, "canaries"))
    for row in rng.permutation(len(manifest))[:count]:
        path = manifest.images[row]
        content = read_image(path)
        pixels = np.asarray(decode_image(content, path).convert("L"))
        (vector,) = world.embeddings.take([row], dtype=np.float16)
        name, patient = (str(manifest.table[each].iloc[row]) for each in ("image", "patient"))
        yield Canary(name, patient, content, pixels, vector)


def _ledger(run: Path) -> Iterator[dict[str, str]]:
    with (run / "traffic.csv").open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _place(message: "RecordedMessage") -> str:
    where = f"experience {message.experience + 1}, round {message.round + 1}"
    return f"Message {message.number} '{message.kind}' of {message.site} ({where})"
