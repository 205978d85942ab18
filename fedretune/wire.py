"""What may leave a site: adaptor tensors, counts and a short list of scalars. Nothing else.

The schema comes from what the *site* knows (its backbone, its config), never from the message
that it answers, so a server cannot ask for more. It knows no Flower: the client's guard turns a
message into plain records, and rebuilds the reply from what passed here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedretune.adaptors import Spec
from fedretune.compression import Compression
from fedretune.evaluation import COARSE_BINS, RULES

Scalar = int | float | str
Value = Scalar | list[int] | list[str]
Array = NDArray[Any]
#: Record name to array name to array.
ArrayRecords = Mapping[str, Mapping[str, Array]]
#: Record name to key to value.
ScalarRecords = Mapping[str, Mapping[str, Value]]

#: How an array's bytes are written: its values alone, little-endian, last axis fastest, and no
#: header, so that there is room for nothing else. Flower's own way writes and reads a header of
#: NumPy's each time, and its reader allows bytes behind the values.
ENCODING = "fedretune.values"

#: Longest text that may leave: a SHA-256 in hex, a name, a reason.
MAX_TEXT = 200
#: Most findings and experiences that a handshake may list.
MAX_ITEMS = 1000

_COUNTS = ("uint16", "uint32", "uint64")
#: The dtypes that are read at all.
_DTYPES = ("float32", *_COUNTS, "float16", "int8", "uint8")


class WireError(ValueError):
    """A reply holds something that may not leave. The message names it, never its content."""


@dataclass(frozen=True)
class Tensor:
    """One array that may leave: its exact shape and the dtypes it may have."""

    shape: tuple[int, ...]
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class Schema:
    """One kind of reply: every array and scalar that must be in it, by record and name.

    A record of `optional` scalars may be left out as a whole.
    """

    arrays: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    scalars: Mapping[str, Mapping[str, type]] = field(default_factory=dict)
    optional: Mapping[str, Mapping[str, type]] = field(default_factory=dict)


NOTHING = Schema()

_POSITION = {"experience": int, "round": int}

#: How many cells of a histogram a site's policy had it send as 0, being too small.
SUPPRESSED = {"suppressed": {"cells": int}}

#: The answer of a site that does not do what was asked. Possible in reply to anything.
REFUSAL = Schema(scalars={"refusal": {"reason": str}})

#: The handshake.
HANDSHAKE = Schema(
    scalars={
        "site": {
            "name": str,
            "version": str,
            "backbone": str,
            "prompts": str,
            "adaptor": str,
            "dim": int,
            "findings": list[str],
            "train-examples": list[int],
            "test-examples": list[int],
        }
    }
)


def train_schema(
    adaptor: Spec,
    counted: int = 0,
    compression: Compression | None = None,
    added: Schema = NOTHING,
) -> Schema:
    """Return what a training reply holds: the adaptor's tensors and four numbers.

    With a compression, an encoded update in the adaptor's place. Where averaging needs them, also
    how many positives there are of each of `counted` findings. And, in records of their own, what
    the strategy has `added`.
    """
    metrics = {**_POSITION, "num-examples": int, "loss": float}
    record, sent = ("update", compression) if compression else ("adaptor", adaptor)
    arrays = {
        record: {name: Tensor(shape, (dtype,)) for name, (shape, dtype) in sent.tensors().items()}
    }
    if counted:
        arrays["counts"] = {"positives": Tensor((counted,), _COUNTS)}
    return Schema({**arrays, **added.arrays}, {"metrics": metrics, **added.scalars})


def coarse_schema(findings: int) -> Schema:
    """Return what the first evaluation reply holds: where scores lie, [rules, F, 2, cells]."""
    return _counts_schema("coarse", (len(RULES), findings, 2, COARSE_BINS))


def histogram_schema(experiences: int, findings: int, bins: int) -> Schema:
    """Return what the second evaluation reply holds: counts [rules, E, F, 2, bins]."""
    return _counts_schema("counts", (len(RULES), experiences, findings, 2, bins))


def _counts_schema(name: str, shape: tuple[int, ...]) -> Schema:
    metrics = {"experience": int, "num-examples": int}
    return Schema(
        arrays={"histogram": {name: Tensor(shape, _COUNTS)}},
        scalars={"metrics": metrics},
        optional=SUPPRESSED,
    )


class Content(Protocol):
    """The part of a message's content that is read here; Flower's ``RecordDict`` has it."""

    @property
    def array_records(self) -> Mapping[str, Any]: ...
    @property
    def metric_records(self) -> Mapping[str, Any]: ...
    @property
    def config_records(self) -> Mapping[str, Any]: ...


def take_apart(content: Content) -> tuple[ArrayRecords, ScalarRecords]:
    """Return the arrays and scalars of a message's content, decoded, without their wrapping.

    Raises
    ------
    WireError
        An array is not encoded as it must be.
    """
    arrays: dict[str, dict[str, Array]] = {}
    for record, values in content.array_records.items():
        arrays[record] = {name: decode(name, array) for name, array in values.items()}
    scalars: dict[str, dict[str, Value]] = {}
    for records in (content.metric_records, content.config_records):
        scalars.update({record: dict(values) for record, values in records.items()})
    return arrays, scalars


class Encoded(Protocol):
    """An array as bytes; Flower's ``Array`` is one."""

    dtype: str
    shape: tuple[int, ...]
    stype: str
    data: bytes


def encode(array: Array) -> tuple[str, tuple[int, ...], str, bytes]:
    """Return the dtype, shape, encoding and bytes of an array: what Flower's ``Array`` takes.

    What was decoded is encoded by the bytes that it was read from, which nothing can change.
    """
    stored = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    base: object = stored.base
    if isinstance(base, bytes) and len(base) == stored.nbytes:
        return array.dtype.name, array.shape, ENCODING, base
    return array.dtype.name, array.shape, ENCODING, stored.tobytes()


def decode(name: str, array: Encoded) -> Array:
    """Return an array that reads the bytes of `array` where they lie; it cannot be written to.

    Raises
    ------
    WireError
        Another encoding or dtype than is read here, or more or fewer bytes than the shape takes.
    """
    what = f"array '{name[:MAX_TEXT]}'"
    if array.stype != ENCODING:
        raise WireError(f"{what} is not encoded as '{ENCODING}'")
    if array.dtype not in _DTYPES:
        raise WireError(f"{what} has a dtype that is not read here")
    dtype, shape = np.dtype(array.dtype).newbyteorder("<"), tuple(array.shape)
    try:
        decoded: Array = np.ndarray(shape, dtype, buffer=array.data)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"{what} cannot be read") from error
    if decoded.nbytes != len(array.data):
        raise WireError(f"{what} has more bytes than its values")
    return decoded


def check(schema: Schema, arrays: ArrayRecords, scalars: ScalarRecords) -> None:
    """Check that a reply holds exactly what `schema` lists.

    Parameters
    ----------
    schema : Schema
    arrays, scalars : mappings of record name to name to value
        Every record of the reply, those without arrays or scalars left out.

    Raises
    ------
    WireError
        Anything missing, additional, of another shape, type or length.
    """
    _same_names("record", arrays, schema.arrays)
    wanted = {**schema.scalars, **{r: v for r, v in schema.optional.items() if r in scalars}}
    _same_names("record", scalars, wanted)
    for record, tensors in schema.arrays.items():
        _same_names(f"array in '{record}'", arrays[record], tensors)
        for name, tensor in tensors.items():
            _check_array(f"array '{record}/{name}'", arrays[record][name], tensor)
    for record, kinds in wanted.items():
        _same_names(f"scalar in '{record}'", scalars[record], kinds)
        for name, kind in kinds.items():
            _check_scalar(f"scalar '{record}/{name}'", scalars[record][name], kind)


def _same_names(what: str, got: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    if extra := sorted(set(got) - set(wanted)):
        raise WireError(f"unexpected {what}: {', '.join(extra)[:MAX_TEXT]}")
    if missing := sorted(set(wanted) - set(got)):
        raise WireError(f"missing {what}: {', '.join(missing)}")


def _check_array(what: str, array: Array, tensor: Tensor) -> None:
    if array.shape != tensor.shape:
        raise WireError(f"{what} has shape {array.shape}, not {tensor.shape}")
    if array.dtype.name not in tensor.dtypes:
        raise WireError(f"{what} is {array.dtype.name}, not {' or '.join(tensor.dtypes)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise WireError(f"{what} has values that are not finite")


def _check_scalar(what: str, value: Value, kind: type) -> None:
    if kind in (list[str], list[int]):
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise WireError(f"{what} is not a list of at most {MAX_ITEMS}")
        for item in value:
            _check_scalar(what, item, str if kind == list[str] else int)
    elif type(value) is not kind:
        raise WireError(f"{what} is {type(value).__name__}, not {kind.__name__}")
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        raise WireError(f"{what} is longer than {MAX_TEXT} characters")
    elif isinstance(value, float) and not math.isfinite(value):
        raise WireError(f"{what} is not finite")
