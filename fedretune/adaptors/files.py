"""Adaptors on disk: safetensors, with the spec inside, so that the file alone can be used again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from fedretune.adaptors import Spec, spec_from_json
from fedretune.errors import UserError
from fedretune.paths import writing

#: An adaptor's tensors, by name.
Arrays = dict[str, npt.NDArray[np.float32]]

#: The one metadata key: safetensors writes several in an order that changes from run to run.
KEY = "fedretune"


def save(
    path: str | Path,
    spec: Spec,
    arrays: Mapping[str, npt.NDArray[np.float32]],
    metadata: Mapping[str, Any],
) -> None:
    """Write an adaptor: the same bytes for the same content, and never half a file.

    Parameters
    ----------
    path : str | Path
        Replaced if it exists.
    spec : Spec
    arrays : Mapping[str, ndarray]
        All tensors of `spec`; else `UserError`.
    metadata : Mapping[str, Any]
        Anything that JSON can hold.
    """
    check_arrays(spec, arrays)
    about = {"adaptor": spec.to_json(), "metadata": dict(metadata)}
    text = json.dumps(about, sort_keys=True, separators=(",", ":"))
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in spec.tensors()}
    try:
        with writing(Path(path)) as file:
            file.write(serialise(ordered, metadata={KEY: text}))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}).") from error


def load(path: str | Path) -> tuple[Spec, Arrays, dict[str, Any]]:
    """Read what `save` wrote: (spec, arrays, metadata).

    Raises `UserError` naming the file where it is missing, damaged, or not an adaptor's.
    """
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY)
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except SafetensorError as error:
        raise UserError(f"{path}: not a sound safetensors file ({error}).") from error
    spec, metadata = _described(path, text)
    check_arrays(spec, arrays)
    return spec, {name: arrays[name] for name in spec.tensors()}, metadata


def _described(path: str | Path, text: str | None) -> tuple[Spec, dict[str, Any]]:
    try:
        about = json.loads(text or "")
        description, metadata = about["adaptor"], about["metadata"]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: a safetensors file, but not one that FedRETune wrote.") from error
    return spec_from_json(description), metadata


def check_arrays(spec: Spec, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Raise `UserError` naming the first tensor that is missing, unknown or not of its shape."""
    expected = spec.tensors()
    for name in sorted(expected.keys() ^ arrays.keys()):
        fault = "is missing" if name in expected else "is not one of this adaptor's"
        raise UserError(f"The tensor '{name}' {fault}; its tensors: {', '.join(expected)}.")
    for name, (shape, dtype) in expected.items():
        found = arrays[name]
        if found.shape != shape or found.dtype.name != dtype:
            raise UserError(
                f"The tensor '{name}' is {found.dtype.name} of shape {found.shape}; "
                f"this adaptor's is {dtype} of shape {shape}."
            )
