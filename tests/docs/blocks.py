"""The commands that README and docs show."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT) for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
)

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n)?```console\n(?P<body>.*?)```", re.DOTALL
)
_HEREDOC = re.compile(r"<<'(\w+)'")


@dataclass(frozen=True)
class Block:
    """A block of commands, and why it is not run; "" where it is."""

    page: Path
    commands: tuple[str, ...]
    reason: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page whose lines begin with ``$``, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, tuple(_commands(found["body"])), found["reason"] or "")
        for found in _BLOCK.finditer(text)
    ]


def _commands(body: str) -> Iterator[str]:
    """Yield each command, joined over its lines; the lines that it prints are left out."""
    lines = iter(body.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            continue
        command = line[2:]
        while command.endswith("\\"):
            command = command[:-1] + next(lines).strip()
        if heredoc := _HEREDOC.search(command):
            for more in lines:
                command += f"\n{more}"
                if more == heredoc[1]:
                    break
        yield command
