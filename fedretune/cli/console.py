"""What people read goes to stderr; stdout is for machines."""

from rich.console import Console
from rich.markup import escape

console = Console(stderr=True, highlight=False)


def say(message: str, to: Console = console) -> None:
    """Print rich text: wrapped at words on a terminal, where a long path stays whole.

    What is broken by a newline cannot be copied: so an indented line, a command, is not wrapped
    at all. Nor is anything in a log, which has no width.
    """
    for line in message.split("\n"):
        if to.is_terminal and not line.startswith(" "):
            to.print(line, overflow="ignore", crop=False)
        else:
            to.print(line, soft_wrap=True)


def print_error(message: str) -> None:
    """Print one message to stderr, without a traceback."""
    say(f"[bold red]Error:[/] {escape(message)}")
