"""Where FedRETune keeps what it can make again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$FEDRETUNE_CACHE``, else ``$XDG_CACHE_HOME/fedretune`` or ``~/.cache/fedretune``."""
    if own := os.environ.get("FEDRETUNE_CACHE"):
        return Path(own).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(base).expanduser() / "fedretune").resolve()
