"""``fedretune bench``: how fast things are, each held against a floor measured beside it.

A row is one function from `Options` to a `Case`, in a file of `fedretune.bench.rows`, and one line
in `ROWS`. Light at import: a row's module is imported when the row is run.
"""

from collections.abc import Sequence

from fedretune.bench.options import FULL, QUICK, Options, Scale
from fedretune.registry import Registry

#: Adding a row is one file and one line here, in the order of the table.
ROWS = Registry(
    "bench row",
    {
        "phantoms": "fedretune.bench.rows.phantoms:row",
        "embedding": "fedretune.bench.rows.embedding:row",
        "embedding-vit": "fedretune.bench.rows.embedding_vit:row",
        "reencode": "fedretune.bench.rows.reencode:row",
        "simulate": "fedretune.bench.rows.simulate:row",
        "workers": "fedretune.bench.rows.workers:row",
        "run": "fedretune.bench.rows.flower:row",
        "many-sites": "fedretune.bench.rows.many_sites:row",
        "round-cost": "fedretune.bench.rows.round_cost:row",
        "secure-round": "fedretune.bench.rows.secure_round:row",
        "secure-round-64": "fedretune.bench.rows.secure_round:many",
        "server-memory": "fedretune.bench.rows.server_memory:row",
        "site-message": "fedretune.bench.rows.site_message:row",
        "second-start": "fedretune.bench.rows.second_start:row",
        "lora-cached": "fedretune.bench.rows.lora_cached:row",
        "help": "fedretune.bench.rows.help:row",
    },
)


def chosen(names: Sequence[str], scale: Scale) -> list[str]:
    """Return the rows of these names; without any, all that `scale` does not leave out.

    Raises `UserError` for a row that is not known.
    """
    return [ROWS.check(name) for name in names] or [
        name for name in ROWS if name not in scale.left_out
    ]


__all__ = ["FULL", "QUICK", "ROWS", "Options", "Scale", "chosen"]
