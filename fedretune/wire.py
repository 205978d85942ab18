"""What may leave a site: adaptor tensors, counts and a short list of scalars. Nothing else.

The schema comes from what the *site* knows (its backbone, its config), never from the message
that it answers, so a server cannot ask for more. It knows no Flower: the client's guard turns a
message into plain records, and rebuilds the reply from what passed here.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
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

#: The one array of a record in which all of its arrays travel; see `pack`.
PACKED = "packed"
#: How it says that it is written.
ENCODING = "fedretune.packed"

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

#: The scale of the noise that its policy had it add to each cell.
NOISED = {"noised": {"scale": float}}

#: What a site that hides its patients tells of it.
PRIVACY = {"privacy": {"epsilon": float, "noise-source": str}}

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
    },
    # Only where something is tuned inside the backbone: its layout, from which the server knows
    # what may travel (`fedretune.tuning.layout`). And where the global adaptor is sent as updates:
    # the fingerprint of the one that the site would begin with. And where gradients are evened out:
    # the SHA-256 of the public file by which they are. And, where the server has a list of admitted
    # sites, by what the site shows that it is one.
    optional={
        "trunk": {"layout": list[str]},
        "first": {"first": str},
        "public": {"moments": str},
        "signature": {"ecdsa": str},
    },
)


def train_schema(
    adaptor: Spec,
    counted: int = 0,
    compression: Compression | None = None,
    added: Schema = NOTHING,
    private: bool = False,
) -> Schema:
    """Return what a training reply holds: the adaptor's tensors and four numbers.

    With a compression, an encoded update in the adaptor's place. Where averaging needs them, also
    how many positives there are of each of `counted` findings. And, in records of their own, what
    the strategy has `added`, and under differential privacy what is spent.
    """
    metrics = {**_POSITION, "num-examples": int, "loss": float}
    record, sent = ("update", compression) if compression else ("adaptor", adaptor)
    arrays = {
        record: {name: Tensor(shape, (dtype,)) for name, (shape, dtype) in sent.tensors().items()}
    }
    if counted:
        arrays["counts"] = {"positives": Tensor((counted,), _COUNTS)}
    told = PRIVACY if private else {}
    return Schema({**arrays, **added.arrays}, {"metrics": metrics, **added.scalars, **told})


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
        optional={**SUPPRESSED, **NOISED},
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
        arrays[record] = unpack(record, values)
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


def pack(arrays: Mapping[str, Array]) -> tuple[str, tuple[int, ...], str, bytes]:
    """Return the one array of bytes in which a record's arrays travel: what ``Array`` takes.

    Flower sends and asks for each array by itself, some twenty times between two disks: of a round
    of a small adaptor that is most. And its own way to write one has a header of NumPy's, and room
    for bytes behind the values. Here there is one header, JSON of each name, dtype and shape,
    behind its length in 4 bytes, then the values, little-endian, last axis fastest, each array at
    a multiple of 8 bytes; and nothing else, so that there is room for nothing else. What was
    unpacked is packed by the bytes that it was read from, which nothing can change.
    """
    stored = {
        name: array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        for name, array in arrays.items()
    }
    header = _header([(name, each.dtype.name, each.shape) for name, each in stored.items()])
    data = _read_from(header, stored)
    if data is None:
        parts: list[Any] = [header]
        for each in stored.values():
            parts += [each.reshape(-1).view(np.uint8), bytes(-each.nbytes % _ALIGNED)]
        data = b"".join(parts)
    return "uint8", (len(data),), ENCODING, data


def unpack(record: str, held: Mapping[str, Encoded]) -> dict[str, Array]:
    """Return a record's arrays by name, read where they lie; they cannot be written to.

    Raises
    ------
    WireError
        Another encoding or dtype than is read here, or more or fewer bytes than the shapes take.
    """
    what = f"record '{record[:MAX_TEXT]}'"
    if set(held) != {PACKED} or held[PACKED].stype != ENCODING:
        raise WireError(f"{what} is not encoded as '{ENCODING}'")
    data = held[PACKED].data
    if (held[PACKED].dtype, tuple(held[PACKED].shape)) != ("uint8", (len(data),)):
        raise WireError(f"{what} is not the bytes that it says")
    listed, start = _listed(what, data)
    arrays: dict[str, Array] = {}
    for name, dtype, shape in listed:
        try:
            array: Array = np.ndarray(shape, np.dtype(dtype).newbyteorder("<"), data, start)
        except (TypeError, ValueError, OverflowError) as error:
            raise WireError(f"{what} has fewer bytes than its values") from error
        end = start + array.nbytes
        start = end + -end % _ALIGNED
        if any(data[end:start]) or name in arrays:
            raise WireError(f"{what} has more bytes than its values")
        arrays[name] = array
    if start != len(data):
        raise WireError(f"{what} has more bytes than its values")
    return arrays


#: One array in a header: its name, dtype and shape.
_Listed = tuple[str, str, tuple[Any, ...]]
_LENGTH = struct.Struct("<I")
_ALIGNED = 8


def _header(listed: Sequence[_Listed]) -> bytes:
    """Return the one header that there is of these arrays."""
    text = json.dumps(listed, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH.size + len(text)) % _ALIGNED)
    return _LENGTH.pack(len(text)) + text


def _listed(what: str, data: bytes) -> tuple[list[_Listed], int]:
    """Return what a header lists, and where it ends. Raises `WireError`."""
    listed: list[_Listed]
    try:
        end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        listed = [
            (str(name), str(dtype), tuple(shape))
            for name, dtype, shape in json.loads(data[_LENGTH.size : end])
        ]
        if _header(listed) != data[:end]:  # which no number that is no whole one survives, either
            raise ValueError("it could have been written otherwise")
    except (ValueError, TypeError, RecursionError, struct.error) as error:
        raise WireError(f"{what} has a header that cannot be read") from error
    if not {dtype for _, dtype, _ in listed} <= set(_DTYPES):
        raise WireError(f"{what} has a dtype that is not read here")
    if any(type(size) is not int or size < 0 for _, _, shape in listed for size in shape):
        raise WireError(f"{what} has a shape that is none")
    return listed, end


def _read_from(header: bytes, arrays: Mapping[str, Array]) -> bytes | None:
    """Return the bytes that these arrays, with this header, were unpacked from, if they were."""
    bases: dict[int, object] = {id(each.base): each.base for each in arrays.values()}
    (base,) = bases.values() if len(bases) == 1 else (None,)
    if not isinstance(base, bytes) or not base.startswith(header):
        return None
    start, offset = np.frombuffer(base, np.uint8).ctypes.data, len(header)
    for each in arrays.values():
        if each.ctypes.data != start + offset:
            return None
        offset += each.nbytes + -each.nbytes % _ALIGNED
    return base if offset == len(base) else None


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
