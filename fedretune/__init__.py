"""FedRETune: the library that every site installs and audits.

It knows no Flower and no app; see ``clients/``, ``server/`` and ``scenarios/`` for those.
"""

from importlib.metadata import version

__version__ = version("fedretune")
