"""Who made a backbone's weights, and under which licence: what its model card says."""

from dataclasses import dataclass
from pathlib import Path

from fedretune.backbones.source import Source, find_source

#: Cards in a backbone's folder; the first that says something is believed.
CARDS = ("MODEL_CARD.md", "README.md")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Provenance:
    """What a card says of a backbone; `UNKNOWN` where it says nothing."""

    licence: str = UNKNOWN
    origin: str = UNKNOWN


def provenance(name: str, allow_hub: bool = False) -> Provenance:
    """Return the licence of a backbone, and where its weights came from.

    Read from the front matter of a card, as the Hugging Face hub writes it: ``license``, and
    ``source`` or ``base_model``. A file of weights has a card of its own name beside it.

    Raises
    ------
    UserError
        As `fedretune.backbones.describe`.
    """
    for path in _cards(find_source(name, allow_hub)):
        if said := front_matter(path):
            origin = said.get("source") or said.get("base_model") or _fetched(name)
            return Provenance(said.get("license", UNKNOWN), origin)
    return Provenance(origin=_fetched(name))


def front_matter(path: Path) -> dict[str, str]:
    """Return the plain ``key: value`` lines between the first two lines of ``---``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    if not lines or lines[0].strip() != "---" or "---" not in lines[1:]:
        return {}
    pairs = [line.split(":", 1) for line in lines[1 : lines.index("---", 1)] if ":" in line]
    plain = {key.strip(): value.strip().strip("'\"") for key, value in pairs if key == key.lstrip()}
    return {key: value for key, value in plain.items() if value}


def _cards(source: Source) -> list[Path]:
    if source.folder is None:
        return []
    if len(source.files()) == 1:
        return [source.files()[0].with_suffix(".md")]
    return [source.folder / name for name in CARDS]


def _fetched(name: str) -> str:
    """Return where open_clip fetches a backbone from that has a name of its own there."""
    kind, _, repository = name.partition(":")
    return f"huggingface.co/{repository}" if kind == "hf-hub" else UNKNOWN
