"""``fedretune privacy``: what left, what it gives away, what is spent."""

import typer

from fedretune.cli import privacy_attack, privacy_audit, privacy_budget

app = typer.Typer(no_args_is_help=True, help="What left, what it gives away, what is spent.")
app.command("audit")(privacy_audit.command)
app.command("attack")(privacy_attack.command)
app.command("budget")(privacy_budget.command)
