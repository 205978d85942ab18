"""Attacks on privacy: what an adaptor gives away of those that it was trained on.

Not to be taken for `clients.attacks`, where hospitals spoil what is learnt. Each is one file, with
its source and what its attacker knows.
"""

from fedretune.registry import Registry

#: Attacks on membership: from a `Target` to a score ``[n]`` of each candidate, higher for members.
MEMBERSHIP = Registry(
    "attack on privacy",
    {
        "loss": "fedretune.privacy.attacks.loss:by_loss",
        "lira": "fedretune.privacy.attacks.lira:by_lira",
        "rmia": "fedretune.privacy.attacks.rmia:by_rmia",
    },
)
