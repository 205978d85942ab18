"""Images that cannot be read: refused, or named and left out of a manifest."""

from pathlib import Path
from typing import TYPE_CHECKING

from fedretune.cli.console import console, say

if TYPE_CHECKING:
    from fedretune.data.manifest import Manifest

_SHOWN = 12


def no_bad(manifest: "Manifest") -> None:
    """Decode every image. Raises `UserError` naming the first that cannot be read."""
    from fedretune.cli.bars import bar
    from fedretune.data.readable import check_readable

    with bar(console, "Decoding") as progress:
        check_readable(manifest, progress)


def without_bad(manifest: "Manifest", out: Path) -> "tuple[Manifest, dict[str, int]]":
    """Write to `out` the rows whose image can be read; return them, and what was dropped."""
    from rich.markup import escape

    from fedretune.cli.bars import bar
    from fedretune.data.readable import unreadable, write_without

    with bar(console, "Decoding") as progress:
        bad = unreadable(manifest, progress)
    for message in list(bad.values())[:_SHOWN]:
        say(f"[yellow]Left out:[/] {escape(message)}")
    if len(bad) > _SHOWN:
        say(f"[yellow]Left out:[/] {len(bad) - _SHOWN:,} others.")
    return write_without(manifest, bad, out), {"cannot be read": len(bad)} if bad else {}
