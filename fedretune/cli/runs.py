"""``fedretune run`` and ``fedretune simulate``: the same app, the same options, two engines."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from fedretune.cli.apart import apart
from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.console import console, say
from fedretune.cli.options import (
    AppPath,
    AsJson,
    Attackers,
    AttackName,
    BackboneName,
    Experiences,
    ManifestPath,
    Method,
    Name,
    Out,
    Recipe,
    Resume,
    Rounds,
    ScenarioName,
    Seed,
    Setting,
    Sites,
    Track,
    Workers,
)
from fedretune.cli.stopping import resume_advice, resume_command, stoppable
from fedretune.errors import RunFailedError, UserError
from fedretune.workers import cores

#: The options that are keys of the config.
KEYS = [
    "sites",
    "scenario",
    "experiences",
    "rounds",
    "method",
    "backbone",
    "manifest",
    "seed",
    "out",
    "name",
    "resume",
    "recipe",
    "workers",
    "attack",
    "attackers",
]


@dataclass(frozen=True)
class Engine:
    """What runs a federation.

    Parameters
    ----------
    command : str
        The words of the command line behind ``fedretune``.
    prepare : callable (AppFolder, flat config) -> int
        Does whatever is slow or can fail before it starts; returns how many sites there are,
        0 where that is not known.
    run : callable (AppFolder, flat config)
        Runs a prepared config to its end. Raises `RunFailedError` if it ends without a result.
    """

    command: str
    prepare: Callable[[AppFolder, dict[str, Any]], int]
    run: Callable[[AppFolder, dict[str, Any]], None]


def start(
    engine: Engine,
    options: dict[str, Any],
    settings: list[str],
    app: Path | None,
    track: Sequence[str] = (),
) -> dict[str, Any]:
    """Check everything, encode the images, run, and show the result; return it."""
    from fedretune.cli.live import RunView, following
    from fedretune.tracking import Tracking, trackers_of

    folder, trackers = find_app(app), trackers_of(track)
    with stoppable(lambda: "What is encoded is kept: the same command goes on from there."):
        config = _prepare(engine, folder, {**options, **parse_settings(settings)})
    path = Path(config["out"]) / config["name"]
    command = resume_command(engine.command, options, settings, config["name"], app, track)
    tracking = Tracking(trackers, path, config, lambda text: say(f"[yellow]{escape(text)}[/]"))
    view = RunView(console)
    with (
        stoppable(lambda: resume_advice(path, command)),
        tracking,
        following(path / "metrics.jsonl", view, tracking),
    ):
        try:
            execute(engine, folder, config)
        except RunFailedError as error:
            raise RunFailedError(f"{error}\n{resume_advice(path, command)}") from error
    summary: dict[str, Any] = json.loads((path / "summary.json").read_text())
    view.finish(summary, path)
    _report(path, app)
    return {**summary, "folder": str(path)}


def _report(run: Path, app: Path | None) -> None:
    """Write the run's report into its folder. A run is none the worse where that fails."""
    from fedretune.cli.report import defaults
    from fedretune.report import FILE, write_report

    try:
        say(f"Report: {escape(str(write_report([run], run / FILE, defaults(app))))}")
    except UserError as error:
        say(f"[yellow]No report:[/] {escape(str(error))}")


def execute(engine: Engine, app: AppFolder, config: dict[str, Any]) -> None:
    """Run a prepared config to its end. Raises `RunFailedError` if it ends without a result."""
    engine.run(app, config)
    # What sites remembered, vectors among it, has done its work. In a simulation it is here.
    shutil.rmtree(Path(config["out"]) / config["name"] / "memory", ignore_errors=True)


def _command(engine: Engine, summary: str) -> Callable[..., None]:
    """Return the command of an engine of one machine: both have the same options."""

    def command(
        sites: Sites = None,
        scenario: ScenarioName = None,
        experiences: Experiences = None,
        rounds: Rounds = None,
        method: Method = None,
        backbone: BackboneName = None,
        manifest: ManifestPath = None,
        seed: Seed = None,
        out: Out = None,
        name: Name = None,
        resume: Resume = None,
        recipe: Recipe = None,
        workers: Workers = None,
        attack: AttackName = None,
        attackers: Attackers = None,
        settings: Setting = None,
        track: Track = None,
        app: AppPath = None,
        as_json: AsJson = False,
    ) -> None:
        given = locals()
        options = {key: given[key] for key in KEYS if given[key] is not None}
        result = start(engine, options, settings or [], app, track or ())
        if as_json:
            typer.echo(json.dumps(result))

    command.__doc__ = summary
    return command


def parse_settings(settings: list[str]) -> dict[str, str]:
    """Return ``KEY=VALUE`` texts as a dict. Raises `UserError` for one without ``=``."""
    pairs = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set takes KEY=VALUE, such as train.lr=1e-3, and got '{setting}'.")
        pairs[key.strip()] = value.strip()
    return pairs


def given_keys(settings: list[str] | None, **options: Any) -> dict[str, Any]:
    """Return the keys that a command was given: options that are not None, and ``--set``'s."""
    named = {key: value for key, value in options.items() if value is not None}
    return {**named, **parse_settings(settings or [])}


def _prepare(engine: Engine, app: AppFolder, values: dict[str, Any]) -> dict[str, Any]:
    """Resolve the config, and do whatever can fail or is slow before an engine starts."""
    scenarios = app.module("scenarios")
    config = scenarios.RunConfig.from_flat(values)
    _check_staging(engine, app, config)
    flat: dict[str, Any] = config.to_flat()
    flat["out"] = str(Path(flat["out"]).expanduser().absolute())
    if flat["manifest"] != "phantoms":
        flat["manifest"] = str(Path(flat["manifest"]).expanduser().absolute())
    place = Path(flat["out"]), flat["name"], flat["resume"]
    flat["name"] = app.module("server.folder").check_place(*place)
    flat["sites"] = engine.prepare(app, flat)
    scenarios.RunConfig.from_flat(flat)  # now that it is known how many sites there are
    if flat["resume"]:
        path = Path(flat["out"]) / flat["name"]
        app.module("server.app").check_resumable(path, scenarios.RunConfig.from_flat(flat))
    return flat


def _check_staging(engine: Engine, app: AppFolder, config: Any) -> None:
    """Raise `UserError` for an attack that is none, or where no site can attack or fail."""
    if not config.staged:
        return
    if engine.run is not in_process:
        raise UserError(
            "attack and failures are for `fedretune simulate`: the sites that Flower starts are "
            "honest, and fail by themselves."
        )
    if config.attack:
        app.module("clients.attacks").attack_of(config.attack, config.attack_strength)


def make_data(app: AppFolder, values: dict[str, Any]) -> int:
    """Check the data and the backbone, and make what is made once; return how many hospitals."""
    from fedretune.cli.bars import bar

    config = app.module("scenarios").RunConfig.from_flat(values)
    if config.manifest == "phantoms":
        from fedretune.data.phantoms import default_manifest

        default_sites = app.module("scenarios.partitions").DEFAULT_SITES
        with bar(console, "Drawing phantoms, once") as progress:
            default_manifest(config.sites or default_sites, progress=progress)
    with bar(console, "Encoding images, once") as progress:
        world = app.module("clients.world").make_world(config, 0, progress)
    return int(world.hospitals)


def _with_flower(app: AppFolder, config: dict[str, Any]) -> None:
    from fedretune.cli.flower import run_with_flower

    say("Starting Flower: about 20 s.")
    run_with_flower(app, config)


def in_process(app: AppFolder, config: dict[str, Any]) -> None:
    simulate = app.module("server.simulator").simulate
    logging.getLogger("flwr").setLevel(logging.WARNING)  # the live view tells it better
    try:
        resolved = app.module("scenarios").RunConfig.from_flat(config)
        together = app.module("clients.ahead")
        batched = together.wanted(resolved) and not resolved.attack  # attackers train by themselves
        ahead = together.train_ahead if batched else None
        client_app, network = app.module("clients.staging").staged(app.client_app, resolved)
        workers = resolved.workers or cores()
        if workers > 1:
            app.load()
        simulate(app.server_app, client_app, config, resolved.nodes, workers, ahead, network)
    except UserError as error:  # what a user can mend before a run was checked before it
        raise RunFailedError(str(error)) from error


def _make_data_apart(app: AppFolder, config: dict[str, Any]) -> int:
    """Do so in a process of its own: Flower's processes want the memory that it takes."""
    return apart(make_data, app, config)


RUN = Engine("run", _make_data_apart, _with_flower)
SIMULATE = Engine("simulate", make_data, in_process)

run = _command(RUN, "Simulate a federation with Flower's engine (`flwr run` underneath).")
simulate = _command(
    SIMULATE, "Simulate a federation without Ray and without ports: the same numbers."
)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    app: AppPath = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a run's adaptors again, from exact scores, beside the run's own figures."""
    from fedretune.cli.evaluate import evaluate_run, print_evaluation

    result = evaluate_run(find_app(app), run)
    print_evaluation(console, result)
    if as_json:
        typer.echo(json.dumps(result))
