"""Names that a config may use, each the address of the code that it stands for.

The code is imported when it is asked for, so that listing names costs no torch import.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from fedretune.errors import one_of


class Registry(Mapping[str, Any]):
    """A read-only mapping from a name to an object, imported on first use.

    Parameters
    ----------
    what : str
        The field's word for the things in it, used in error messages ("adaptor").
    entries : Mapping[str, str]
        Name to ``"package.module:attribute"``.
    """

    def __init__(self, what: str, entries: Mapping[str, str]) -> None:
        self.what = what
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        """Return what `name` stands for. Raises `UserError` naming the allowed names."""
        module, _, attribute = self._entries[self.check(name)].partition(":")
        return getattr(import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def address(self, name: str) -> str:
        """Return the dotted name of the code of `name`, without importing it."""
        return self._entries[self.check(name)].replace(":", ".")

    def check(self, name: str) -> str:
        """Return `name`, or raise `UserError` without importing anything."""
        return one_of(self.what, name, self._entries)
