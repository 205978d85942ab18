"""Finding the Flower app: the folder whose ``pyproject.toml`` names its ClientApp and ServerApp.

The library does not import the app; it loads what the app's ``pyproject.toml`` names.
"""

import sys
import tomllib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import fedretune
from fedretune.errors import UserError


@dataclass(frozen=True)
class AppFolder:
    """A Flower app on disk: its `path` and the `module:attribute` names of its two parts."""

    path: Path
    server_name: str
    client_name: str

    @property
    def server_app(self) -> Any:
        """The ServerApp."""
        return self._load(self.server_name)

    @property
    def client_app(self) -> Any:
        """The ClientApp."""
        return self._load(self.client_name)

    def module(self, name: str) -> ModuleType:
        """Import one of the app's modules, such as ``scenarios``."""
        if str(self.path) not in sys.path:
            sys.path.insert(0, str(self.path))
        return import_module(name)

    def load(self) -> None:
        """Import what a run needs, and what torch and torchmetrics put off until they are used.

        So that processes that are forked after it have it: two seconds, and 200 MiB, in each.
        """
        import torch

        for part in (self.server_name, self.client_name):
            self.module(part.partition(":")[0])
        import_module("torchmetrics.functional.classification")
        layer = torch.nn.Linear(1, 1, device="meta").to_empty(device="cpu")
        torch.nn.init.uniform_(layer.weight)
        torch.optim.Adam(layer.parameters())

    def _load(self, name: str) -> Any:
        module, _, attribute = name.partition(":")
        return getattr(self.module(module), attribute)


def find_app(start: Path | None = None) -> AppFolder:
    """Return the app in the folder `start`; without one, that here, above, or by the library.

    Raises
    ------
    UserError
        There is none.
    """
    if start is not None:
        return _named(start.expanduser().resolve())
    here = Path.cwd().resolve()
    beside_library = Path(fedretune.__file__).resolve().parents[1]
    for folder in (here, *here.parents, beside_library):
        if found := _read(folder):
            return found
    raise UserError(
        f"There is no FedRETune app in {here} or above it: go to a clone of FedRETune, or name "
        "one with --app."
    )


def _named(folder: Path) -> AppFolder:
    if found := _read(folder):
        return found
    raise UserError(
        f"There is no FedRETune app in {folder}: --app names a clone of FedRETune, the folder that "
        "holds pyproject.toml, clients, server and scenarios."
    )


def _read(folder: Path) -> AppFolder | None:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text())
    except (OSError, ValueError):
        return None
    components = project.get("tool", {}).get("flwr", {}).get("app", {}).get("components", {})
    if not {"serverapp", "clientapp"} <= set(components) or not (folder / "scenarios").is_dir():
        return None
    return AppFolder(folder, components["serverapp"], components["clientapp"])
