"""What people read goes to stderr; stdout is for machines."""

import re

from rich.console import Console
from rich.markup import escape
from rich.text import Text

console = Console(stderr=True, highlight=False)


def say(message: str, to: Console = console) -> None:
    """Print rich text: wrapped at words on a terminal, where a long path stays whole.

    What is broken by a newline cannot be copied: so an indented line, a command, is not wrapped
    at all. Nor is anything in a log, which has no width.
    """
    for line in Text.from_markup(message).split(allow_blank=True):
        wrap = to.is_terminal and not line.plain.startswith(" ")
        for part in line.divide(_word_starts(line.plain, to.width)) if wrap else [line]:
            part.rstrip()
            to.print(part, soft_wrap=True)


def print_error(message: str) -> None:
    """Print one message to stderr, without a traceback."""
    say(f"[bold red]Error:[/] {escape(message)}")


def _word_starts(text: str, width: int) -> list[int]:
    """Return where each line after the first begins; a word longer than a line is not cut."""
    starts, column = [], 0
    for word in re.finditer(r"\S+\s*", text):
        if column and column + len(word.group().rstrip()) > width:
            starts.append(word.start())
            column = 0
        column += len(word.group())
    return starts
