"""The arrays of a message's records, to be looked at or spoilt."""

from collections.abc import Callable, Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from fedretune import wire


def packed(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Return a record of arrays, as it travels."""
    return ArrayRecord({wire.PACKED: Array(*wire.pack(arrays))})


def arrays_of(content: RecordDict, record: str) -> dict[str, np.ndarray]:
    """Return a record's arrays by name."""
    return wire.unpack(record, content[record])


def change(content: RecordDict, record: str, how: Callable[[str, np.ndarray], np.ndarray]) -> None:
    """Put another array in the place of each of a record's."""
    content[record] = packed({name: how(name, x) for name, x in arrays_of(content, record).items()})
