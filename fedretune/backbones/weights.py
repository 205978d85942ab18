"""Reading files of weights, of which nothing may run."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from fedretune.errors import UserError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, those under ``model`` where there is one.

    Nothing but tensors and plain values is unpickled, so a file cannot run code here. Where the
    format allows they are mapped from the file, so that what is not used is not read.

    Raises
    ------
    UserError
        It is no such file.
    """
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    except Exception as error:  # what a damaged pickle raises is open
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(
            f"Cannot read the weights {path}: {reason} It must be a file of torch.save, or of "
            "safetensors, that holds tensors; if it holds objects of other libraries, save the "
            "tensors alone again."
        ) from error
    tensors = content.get("model", content) if isinstance(content, Mapping) else {}
    named = tensors.items() if isinstance(tensors, Mapping) else ()
    return {str(name): value for name, value in named if isinstance(value, Tensor)}


def _unpickled(path: Path) -> object:
    # MAE's code saves its command line along with the weights.
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            return torch.load(path, "cpu", weights_only=True, mmap=True)
        except RuntimeError:  # a file of torch before 1.6 cannot be mapped
            return torch.load(path, "cpu", weights_only=True)
