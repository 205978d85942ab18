"""Prompt sets: what the text encoder is told of a finding, as TOML files.

A file has two lists, ``positive`` and ``negative``, in which ``{c}`` stands for the finding. A
table such as ``[finding."Pleural Thickening"]`` may replace either list for one finding. Adding a
prompt set is one TOML file in this folder.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedretune.errors import UserError, one_of

_FOLDER = Path(__file__).parent
_LISTS = ("positive", "negative")


@dataclass(frozen=True)
class PromptSet:
    """Sentences that say that a finding is there, and sentences that say that it is not.

    Parameters
    ----------
    name : str
        The file's stem. It is no part of the fingerprint.
    positive, negative : tuple[str, ...]
        The `P` and `N` sentences, each with ``{c}`` where the finding's name goes.
    overrides : Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
        By finding: the `P` positive and `N` negative sentences that take their place.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    overrides: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(
        default_factory=dict, hash=False
    )

    def texts(self, finding: str) -> tuple[list[str], list[str]]:
        """Return the `P` positive and the `N` negative sentences of one finding."""
        positive, negative = self.overrides.get(finding, (self.positive, self.negative))
        return [t.replace("{c}", finding) for t in positive], [
            t.replace("{c}", finding) for t in negative
        ]

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all sentences: equal if and only if every finding reads the same."""
        content = [self.positive, self.negative, sorted(self.overrides.items())]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def prompt_set_names() -> tuple[str, ...]:
    """Return the names of the prompt sets that come with FedRETune."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_prompts(name_or_path: str | Path = "precursor") -> PromptSet:
    """Read a prompt set that comes with FedRETune, by name, or any other, by path.

    Raises
    ------
    UserError
        No such name or file, bad TOML, an unknown key, an empty list or a sentence without
        ``{c}``; it names the file and the sentence.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix != ".toml" and not path.is_file():
        one_of("prompt set", str(name_or_path), prompt_set_names())
        path = _FOLDER / f"{name_or_path}.toml"
    content = _read(path)
    _check_keys(path, content, {*_LISTS, "finding"}, "")
    positive, negative = (_sentences(path, content, key, "") for key in _LISTS)
    for sentence in positive + negative:
        if "{c}" not in sentence:
            raise UserError(f'{path}: the prompt "{sentence}" lacks {{c}}, the finding\'s place.')
    return PromptSet(path.stem, positive, negative, _overrides(path, content, positive, negative))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read the prompt set {path}: {error.strerror}.") from error
    except ValueError as error:  # bad TOML or bad UTF-8
        raise UserError(f"The prompt set {path} is not valid TOML: {error}.") from error


def _check_keys(path: Path, table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    for key in table:
        if key not in allowed:
            names = ", ".join(sorted(allowed))
            raise UserError(f"{path}: unknown key '{where}{key}'. Allowed: {names}.")


def _sentences(path: Path, table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(t, str) for t in value):
        raise UserError(f"{path}: '{where}{key}' must be a list of at least one sentence.")
    return tuple(value)


def _overrides(
    path: Path, content: Mapping[str, Any], positive: tuple[str, ...], negative: tuple[str, ...]
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    tables = content.get("finding", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise UserError(f'{path}: write a finding\'s own prompts as [finding."Name"].')
    found = {}
    for finding, table in tables.items():
        where = f"finding.{finding}."
        _check_keys(path, table, set(_LISTS), where)
        filled = {"positive": list(positive), "negative": list(negative), **table}
        pair = tuple(_sentences(path, filled, key, where) for key in _LISTS)
        for key, own, general in zip(_LISTS, pair, (positive, negative), strict=True):
            # All findings' prompts are one array, so they need the same number.
            if len(own) != len(general):
                raise UserError(
                    f"{path}: '{where}{key}' has {len(own)} sentences and the set has "
                    f"{len(general)}: give {len(general)}."
                )
        found[finding] = (pair[0], pair[1])
    return found
