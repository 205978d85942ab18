"""``fedretune run`` and ``fedretune simulate``: the same app, the same options, two engines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fedretune.cli.app_folder import AppFolder, find_app
from fedretune.cli.console import console
from fedretune.errors import UserError

Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the config; repeatable."),
]
Sites = Annotated[int | None, typer.Option(help="How many hospitals take part.")]
ScenarioName = Annotated[str | None, typer.Option("--scenario", help="What arrives when.")]
Experiences = Annotated[int | None, typer.Option(help="Steps of the stream.")]
Rounds = Annotated[int | None, typer.Option(help="Rounds of averaging in each experience.")]
Method = Annotated[str | None, typer.Option(help="How sites learn.")]
BackboneName = Annotated[
    str | None, typer.Option("--backbone", help="A name, or local-dir:/absolute/folder.")
]
ManifestPath = Annotated[
    str | None, typer.Option("--manifest", help="A manifest file, or 'phantoms'.")
]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same bytes.")]
Out = Annotated[str | None, typer.Option(help="Folder that holds the run folders.")]
Name = Annotated[str | None, typer.Option(help="Name of the run folder (default: the time).")]
Resume = Annotated[bool | None, typer.Option("--resume", help="Go on with the run --name.")]
Recipe = Annotated[str | None, typer.Option(help="A file of scenarios/recipes, by name.")]
AppPath = Annotated[Path | None, typer.Option("--app", help="Folder of the app, if not here.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print summary.json to stdout.")]


#: The options that are keys of the config.
_KEYS = [
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
]

#: Runs a prepared config to its end.
Engine = Callable[[AppFolder, dict[str, Any]], None]


def _start(
    options: dict[str, Any],
    settings: list[str],
    app: Path | None,
    as_json: bool,
    engine: Engine,
) -> None:
    """Check everything, encode the images, run, and tell the result."""
    from fedretune.cli.live import RunView, following

    folder = find_app(app)
    config = _prepare(folder, {**options, **parse_settings(settings)})
    path = Path(config["out"]) / config["name"]
    view = RunView(console)
    with following(path / "metrics.jsonl", view):
        engine(folder, config)
    summary = json.loads((path / "summary.json").read_text())
    view.finish(summary, path)
    if as_json:
        typer.echo(json.dumps({**summary, "folder": str(path)}))


def _command(engine: Engine, summary: str) -> Callable[..., None]:
    """Return the command that runs the app with `engine`: both have the same options."""

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
        settings: Setting = None,
        app: AppPath = None,
        as_json: AsJson = False,
    ) -> None:
        given = locals()
        options = {key: given[key] for key in _KEYS if given[key] is not None}
        _start(options, settings or [], app, as_json, engine)

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


def _prepare(app: AppFolder, values: dict[str, Any]) -> dict[str, Any]:
    """Resolve the config, and do whatever can fail or is slow before an engine starts."""
    from fedretune.cli.live import embedding_bar

    config = app.module("scenarios").RunConfig.from_flat(values)
    flat: dict[str, Any] = config.to_flat()
    flat["out"] = str(Path(flat["out"]).expanduser().absolute())
    if flat["manifest"] != "phantoms":
        flat["manifest"] = str(Path(flat["manifest"]).expanduser().absolute())
    flat["name"] = app.module("server.folder").check_place(
        Path(flat["out"]), flat["name"], flat["resume"]
    )
    with embedding_bar(console) as progress:
        world = app.module("clients.world").make_world(config, 0, progress)
    flat["sites"] = len(world.scenario.sites)
    return flat


def _with_flower(app: AppFolder, config: dict[str, Any]) -> None:
    from fedretune.cli.flower import run_with_flower

    run_with_flower(app, config)


def _in_process(app: AppFolder, config: dict[str, Any]) -> None:
    app.module("server.simulator").simulate(app.server_app, app.client_app, config, config["sites"])


run = _command(_with_flower, "Simulate a federation with Flower's engine (`flwr run` underneath).")
simulate = _command(
    _in_process, "Simulate a federation in this process: no Ray, no ports, the same numbers."
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
