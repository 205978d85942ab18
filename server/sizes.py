"""How many bytes a message takes, without writing it: the ledger counts every one."""

from math import prod

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import config_record_to_proto, metric_record_to_proto
from flwr.proto.recorddict_pb2 import Array as ArrayHeader

from fedretune import wire


def payload_bytes(content: RecordDict) -> int:
    """Return the serialized size of a message's content, in bytes.

    Arrays are all but a few hundred bytes of it, and the only thing that is not written to be
    counted: their values' size is known.
    """
    return sum(_field(_text(name) + _field(_record(record))) for name, record in content.items())


def known_bytes(schema: wire.Schema) -> int:
    """Return the bytes of those arrays of a reply whose dtype is known."""
    return sum(
        prod(tensor.shape) * np.dtype(tensor.dtypes[0]).itemsize
        for tensors in schema.arrays.values()
        for tensor in tensors.values()
        if len(tensor.dtypes) == 1
    )


def _record(record: ArrayRecord | MetricRecord | ConfigRecord) -> int:
    if isinstance(record, ArrayRecord):
        return sum(_field(_text(name) + _field(_array(array))) for name, array in record.items())
    if isinstance(record, MetricRecord):
        return int(metric_record_to_proto(record).ByteSize())
    return int(config_record_to_proto(record).ByteSize())


def _array(array: Array) -> int:
    header = ArrayHeader(dtype=array.dtype, shape=array.shape, stype=array.stype)
    return int(header.ByteSize()) + (_field(len(array.data)) if array.data else 0)


def _text(text: str) -> int:
    return _field(len(text.encode())) if text else 0


def _field(size: int) -> int:
    """Return what a field of `size` bytes takes: a byte for its number, its length, itself.

    Protocol Buffers' encoding: seven bits of the length a byte, and nothing for an empty text.
    """
    return 1 + max(1, (size.bit_length() + 6) // 7) + size
