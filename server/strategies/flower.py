"""Flower's own strategies, under our validation and in our order: float64, by the sites' names."""

from collections.abc import Mapping, Sequence

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from fedretune.wire import Array
from server.strategies.fold import Update

#: Any node but the server's: a message wants one.
_NODE = 1


def aggregated(strategy: FedAvg, updates: Sequence[Update]) -> Mapping[str, Array]:
    """Return what a strategy of Flower's makes of the updates, every site counting alike.

    The counts that sites tell are not handed on: a robust rule that weighs by them, as Flower's
    MultiKrum does, can be swayed by a number that nobody can check.
    """
    arrays, _ = strategy.aggregate_train(1, [_reply(update.arrays) for update in updates])
    assert arrays is not None  # that there are enough replies was made sure of before
    return {name: array.numpy() for name, array in arrays.items()}


def _reply(adaptor: Mapping[str, Array]) -> Message:
    arrays = {name: FlowerArray(array.astype(np.float64)) for name, array in adaptor.items()}
    metrics = MetricRecord({"num-examples": 1})
    content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics})
    return Message(content, _NODE, MessageType.TRAIN)
