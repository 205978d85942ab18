"""Every key of a run's config: its default, and what it means in words."""

import tomllib
from pathlib import Path
from typing import NamedTuple

from scenarios.config import DEFAULTS
from scenarios.table import Scalar

_MEANINGS = Path(__file__).parent / "keys.toml"


class Key(NamedTuple):
    """A key such as ``adaptor.kind``, its default, and what it means."""

    name: str
    default: Scalar
    meaning: str


def keys(words: str = "") -> list[Key]:
    """Return the keys whose name or meaning holds `words`, in any case; all, for none."""
    meanings: dict[str, str] = tomllib.loads(_MEANINGS.read_text(encoding="utf-8"))
    every = [Key(name, default, meanings[name]) for name, default in DEFAULTS.items()]
    sought = words.casefold()
    return [each for each in every if sought in f"{each.name} {each.meaning}".casefold()]
