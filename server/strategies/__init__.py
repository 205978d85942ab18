"""Strategies: the sites' adaptors of a round become the next global one. The server's part.

What a config may say of each, and the site's part, is in `fedretune.strategies`, under the same
names. A strategy is a function from a `Setup`, the global adaptor that was sent and what the
strategy remembers to a `Fold`, to which the replies are added one by one, in the order of the
sites' names.
"""

from fedretune.registry import Registry
from server.aggregation import Arrays
from server.strategies.fold import Fold, Setup, State, Strategy, Update

__all__ = ["STRATEGIES", "Arrays", "Fold", "Setup", "State", "Strategy", "Update"]

STRATEGIES = Registry(
    "strategy",
    {
        "fedavg": "server.strategies.fedavg:fedavg",
        "fedprox": "server.strategies.fedavg:fedavg",  # all that differs is the sites' loss
        "fedavgm": "server.strategies.fedavgm:fedavgm",
        "fedadam": "server.strategies.fedadam:fedadam",
        "fedyogi": "server.strategies.fedyogi:fedyogi",
        "fedadagrad": "server.strategies.fedadagrad:fedadagrad",
        "fedmedian": "server.strategies.fedmedian:fedmedian",
        "fedtrimmedavg": "server.strategies.fedtrimmedavg:fedtrimmedavg",
        "krum": "server.strategies.krum:krum",
        "multikrum": "server.strategies.multikrum:multikrum",
        "bulyan": "server.strategies.bulyan:bulyan",
        "qfedavg": "server.strategies.qfedavg:qfedavg",
        "scaffold": "server.strategies.scaffold:scaffold",
        "fednova": "server.strategies.fednova:fednova",
        "fisher": "server.strategies.fisher:fisher",
        "regmean": "server.strategies.regmean:regmean",
    },
)
