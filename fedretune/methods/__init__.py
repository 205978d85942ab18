"""Methods: how a federation learns from a stream, and what it is compared with.

A method's name is one part, or several joined by ``+``: ``retune``, ``retune+lwf``,
``linear-probe+joint``. Each part is a small file here that changes a `Method`; plain RE-tune is
what they start from, so ``joint`` alone is RE-tune on everything at once. Adding a method is one
file and one line in `METHODS`.
"""

from collections.abc import Mapping

from fedretune.methods.method import Method, Remedy
from fedretune.registry import Registry

__all__ = ["METHODS", "Method", "Remedy", "method_of", "remedies_of"]

#: Each a function from a `Method` to the one that the part makes of it. Raises `UserError` where
#: the parts do not go together.
METHODS = Registry(
    "method",
    {
        "retune": "fedretune.methods.retune:retune",
        "offsets": "fedretune.methods.offsets:offsets",
        "ewc": "fedretune.methods.ewc:ewc",
        "lwf": "fedretune.methods.lwf:lwf",
        "replay": "fedretune.methods.replay:replay",
        "anchor": "fedretune.methods.anchor:anchor",
        "lora": "fedretune.methods.lora:lora",
        "lora-sum": "fedretune.methods.lora_sum:lora_sum",
        "o-lora": "fedretune.methods.o_lora:o_lora",
        "zero-shot": "fedretune.methods.zero_shot:zero_shot",
        "untrained": "fedretune.methods.untrained:untrained",
        "joint": "fedretune.methods.joint:joint",
        "joint-withheld": "fedretune.methods.joint_withheld:joint_withheld",
        "linear-probe": "fedretune.methods.linear_probe:linear_probe",
        "mlp-probe": "fedretune.methods.mlp_probe:mlp_probe",
        "local": "fedretune.methods.local:local",
        "central": "fedretune.methods.central:central",
    },
)


def method_of(name: str) -> Method:
    """Return the method that `name` stands for.

    Raises
    ------
    UserError
        A part that is not known, comes twice, or does not go with another one.
    """
    method = Method(name)
    for part in name.split("+"):
        method = METHODS[part](method)
    return method.checked()


def remedies_of(method: Method, strengths: Mapping[str, float]) -> tuple[Remedy, ...]:
    """Return the method's remedies, each with its strength, by the remedy's name."""
    return tuple(make(strengths[name]) for name, make in method.remedies.items())
