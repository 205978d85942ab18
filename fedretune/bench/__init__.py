"""``fedretune bench``: how fast things are, each held against a floor measured beside it.

A row is one function from `Options` to a `Case`, in a file of `fedretune.bench.rows`, and one line
in `ROWS`. Light at import: a row's module is imported when the row is run.
"""

from fedretune.bench.options import FULL, QUICK, Options, Scale
from fedretune.registry import Registry

#: Adding a row is one file and one line here, in the order of the table.
ROWS = Registry(
    "bench row",
    {
        "phantoms": "fedretune.bench.rows.phantoms:row",
        "embedding": "fedretune.bench.rows.embedding:row",
        "simulate": "fedretune.bench.rows.simulate:row",
        "second-start": "fedretune.bench.rows.second_start:row",
        "help": "fedretune.bench.rows.help:row",
    },
)

__all__ = ["FULL", "QUICK", "ROWS", "Options", "Scale"]
