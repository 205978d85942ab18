"""What people read goes to stderr; stdout is for machines."""

from rich.console import Console
from rich.markup import escape

console = Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """Print one message to stderr, without a traceback."""
    console.print(f"[bold red]Error:[/] {escape(message)}")
