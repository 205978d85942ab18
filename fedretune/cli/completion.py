"""What a shell offers when Tab is pressed behind an option."""

from collections.abc import Callable, Iterable
from pathlib import Path

from fedretune.errors import UserError


def methods(incomplete: str) -> list[str]:
    """Return the methods; behind a ``+``, the parts that may follow."""
    from fedretune.methods import METHODS

    before, plus, _ = incomplete.rpartition("+")
    return [
        f"{before}{plus}{name}"
        for name in METHODS
        if f"{before}{plus}{name}".startswith(incomplete)
    ]


def scenarios(incomplete: str) -> list[str]:
    """Return the scenarios."""
    return _of_app("scenarios.stream", "SCENARIOS", incomplete)


def attacks(incomplete: str) -> list[str]:
    """Return the attacks."""
    return _of_app("clients.attacks", "ATTACKS", incomplete)


def settings(incomplete: str) -> list[str]:
    """Return the keys that ``--set`` takes, each with its ``=``."""
    return [f"{key}=" for key in _of_app("scenarios.config", "DEFAULTS", incomplete)]


def recipes(incomplete: str) -> list[str]:
    """Return the recipes."""

    def names(folder: Path) -> Iterable[str]:
        return sorted(path.stem for path in folder.glob("*.toml"))

    return _of_app("scenarios.config", "RECIPES", incomplete, names)


def backbones(incomplete: str) -> list[str]:
    """Return the backbones that come along, and the beginnings of other names."""
    known = ("phantom-clip", "lite0-minilm", "local-dir:", "biovil:", "vit-mrm:", "vit-cxr-mae:")
    return [name for name in known if name.startswith(incomplete)]


def _of_app(
    module: str,
    name: str,
    incomplete: str,
    names: Callable[..., Iterable[str]] = iter,
) -> list[str]:
    """Return the app's names that begin so; none where there is no app here."""
    from fedretune.cli.app_folder import find_app

    try:
        found = getattr(find_app().module(module), name)
    except UserError:
        return []
    return [each for each in names(found) if each.startswith(incomplete)]
