"""The ``fedretune`` command. Everything heavy is imported inside the commands."""

import os
import sys

import typer

from fedretune.cli import backbones, embed, manifest, phantoms, runs
from fedretune.cli.console import print_error
from fedretune.errors import UserError

# Nothing here asks a hub unless a command is told to; set before anything imports open_clip.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Federated continual learning of chest X-ray vision-language models.",
)
app.command("run")(runs.run)
app.command("simulate")(runs.simulate)
app.command("evaluate")(runs.evaluate)
app.add_typer(manifest.app, name="manifest")
app.command("embed")(embed.command)
app.add_typer(backbones.app, name="backbones")
app.command("phantoms")(phantoms.command)


def main() -> None:
    """Run the command line. Exit code 2 is something the user can mend; 1 is a failed run."""
    try:
        app()
    except UserError as error:
        print_error(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
