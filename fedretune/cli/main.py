"""The ``fedretune`` command. Everything heavy is imported inside the commands."""

import os
import sys
from typing import Annotated

import typer

import fedretune
from fedretune.cli import (
    backbones,
    bench,
    doctor,
    embed,
    keys,
    manifest,
    phantoms,
    pretrain,
    privacy,
    report,
    runs,
    server,
    site,
    status,
    study,
    study_attacks,
    study_lora,
    study_privacy,
)
from fedretune.cli.console import print_error
from fedretune.cli.examples import add_examples
from fedretune.errors import UserError

# Nothing here asks a hub unless a command is told to; set before anything imports open_clip.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Federated continual learning of chest X-ray vision-language models.",
    epilog="Exit codes: 0 done; 1 a run ended without a result; 2 something that you "
    "can mend, and the message says how; 128 + n stopped by signal n (Ctrl-C: 130).",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"fedretune {fedretune.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Take what is no command's own."""


backbones.app.command("pretrain")(pretrain.command)
study.app.command("attacks")(study_attacks.command)
study.app.command("privacy")(study_privacy.command)
study.app.command("lora")(study_lora.command)

FEDERATION, DATA = "Federation", "Data and backbones"
HOSPITALS, PRIVACY = "Across hospitals", "Privacy"
app.command("run", rich_help_panel=FEDERATION)(runs.run)
app.command("simulate", rich_help_panel=FEDERATION)(runs.simulate)
app.command("evaluate", rich_help_panel=FEDERATION)(runs.evaluate)
app.command("report", rich_help_panel=FEDERATION)(report.command)
app.command("status", rich_help_panel=FEDERATION)(status.command)
app.command("keys", rich_help_panel=FEDERATION)(keys.command)
app.add_typer(study.app, name="study", rich_help_panel=FEDERATION)
app.add_typer(privacy.app, name="privacy", rich_help_panel=PRIVACY)
app.add_typer(site.app, name="site", rich_help_panel=HOSPITALS)
app.add_typer(server.app, name="server", rich_help_panel=HOSPITALS)
app.command("bench", rich_help_panel=FEDERATION)(bench.command)
app.command("doctor", rich_help_panel=FEDERATION)(doctor.command)
app.add_typer(manifest.app, name="manifest", rich_help_panel=DATA)
app.command("embed", rich_help_panel=DATA)(embed.command)
app.add_typer(backbones.app, name="backbones", rich_help_panel=DATA)
app.command("phantoms", rich_help_panel=DATA)(phantoms.command)
add_examples(app)


def main() -> None:
    """Run the command line. Exit code 2 is something the user can mend; 1 is a failed run."""
    try:
        app()
    except UserError as error:
        print_error(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
