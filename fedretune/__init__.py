"""FedRETune: the library that every site installs and audits.

It knows no Flower and no app; see ``clients/``, ``server/`` and ``scenarios/`` for those.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # a third of the start of `fedretune --help`

    return version("fedretune")
