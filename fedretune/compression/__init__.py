"""Compressions: fewer bytes for what a site sends, at the price of sending some of it later.

A site sends not its adaptor but the update: what it changed in the one that it received, encoded
in fewer bytes. What the encoding loses stays at the site and is added to its next update, so that
nothing is lost but time: error feedback, Seide et al. 2014 (1-bit SGD), Karimireddy et al. 2019
(arXiv 1901.09847). Only a reply that never arrives is lost, as it is without compression. Adding
a compression is one file and one line in `COMPRESSIONS`.
"""

from fedretune.adaptors import Spec
from fedretune.compression.base import Compression, UnsoundError, Vector
from fedretune.errors import one_of
from fedretune.registry import Registry

__all__ = ["COMPRESSIONS", "NONE", "Compression", "UnsoundError", "Vector", "compression_of"]

#: Each a `Compression`.
COMPRESSIONS = Registry(
    "compression",
    {
        "bf16": "fedretune.compression.bf16:Bf16",
        "int8": "fedretune.compression.int8:Int8",
        "topk": "fedretune.compression.topk:TopK",
        "lowrank": "fedretune.compression.lowrank:LowRank",
    },
)

#: The name for none of them: the adaptor leaves as it is.
NONE = "none"


def compression_of(name: str, adaptor: Spec, share: float) -> Compression | None:
    """Return the compression of an adaptor's updates, or None for `NONE`.

    Parameters
    ----------
    name : str
        `NONE`, or a name in `COMPRESSIONS`.
    adaptor : Spec
        What is trained.
    share : float
        Of an update's values, how many are sent, from above 0 to 1; where all are, it is not read.

    Raises
    ------
    UserError
        A name that is not known.
    """
    if one_of("compression", name, [NONE, *COMPRESSIONS]) == NONE:
        return None
    compression: Compression = COMPRESSIONS[name](adaptor, share)
    return compression
