"""The options that commands which run something have in common."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fedretune.cli import completion

#: Groups of options in a command's help.
WHAT, DATA, WHERE = "What is run", "On what", "Where, and how fast"
STAGED = "What goes wrong on purpose (`simulate` alone)"


def _option(help: str, panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


Setting = Annotated[
    list[str] | None,
    _option(
        "Any other key, see `fedretune keys`; repeatable.",
        WHAT,
        "--set",
        metavar="KEY=VALUE",
        autocompletion=completion.settings,
    ),
]
Sites = Annotated[int | None, _option("How many hospitals take part.", WHAT)]
ScenarioName = Annotated[
    str | None,
    _option("What arrives when.", WHAT, "--scenario", autocompletion=completion.scenarios),
]
Experiences = Annotated[int | None, _option("Steps of the stream.", WHAT)]
Rounds = Annotated[int | None, _option("Rounds of averaging in each experience.", WHAT)]
Method = Annotated[str | None, _option("How sites learn.", WHAT, autocompletion=completion.methods)]
BackboneName = Annotated[
    str | None,
    _option(
        "A name, or local-dir:/absolute/folder.",
        DATA,
        "--backbone",
        autocompletion=completion.backbones,
    ),
]
ManifestPath = Annotated[str | None, _option("A manifest file, or 'phantoms'.", DATA, "--manifest")]
Seed = Annotated[int | None, _option("The same seed gives the same bytes.", WHAT)]
Out = Annotated[str | None, _option("Folder that holds the run folders.", WHERE)]
Name = Annotated[str | None, _option("Name of the run folder (default: the time).", WHERE)]
Resume = Annotated[bool | None, _option("Go on with the run --name.", WHERE, "--resume")]
Recipe = Annotated[
    str | None,
    _option("A file of scenarios/recipes, by name.", WHAT, autocompletion=completion.recipes),
]
Workers = Annotated[
    int | None, _option("Processes that play the sites; 0: one a core. Same bytes.", WHERE)
]
AttackName = Annotated[
    str | None,
    _option("What attackers do.", STAGED, "--attack", autocompletion=completion.attacks),
]
Attackers = Annotated[int | None, _option("How many of the sites attack.", STAGED)]
Track = Annotated[
    list[str] | None,
    _option("Tell it to a tracker, too: tensorboard or mlflow; repeatable.", WHERE, "--track"),
]
AppPath = Annotated[Path | None, _option("Folder of the app, if not here.", WHERE, "--app")]
AsJson = Annotated[bool, typer.Option("--json", help="Print summary.json to stdout.")]
