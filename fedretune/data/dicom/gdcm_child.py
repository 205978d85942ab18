"""The child's side of `fedretune.data.dicom.apart`: decodes until nobody asks any more."""

import os
import sys
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from fedretune.data.dicom.apart import receive, send
from fedretune.data.dicom.header import quietly

_MEMORY = 4 * 2**30  # bytes of address space


def main() -> None:
    """Answer frames on standard input with arrays on standard output."""
    _limit_memory()
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # GDCM prints to standard output at times
        while True:
            try:
                words, data = receive(sys.stdin.buffer)
            except EOFError:
                return
            _answer(answers, _decode(words, data))


def _decode(words: dict[str, Any], data: bytes) -> NDArray[Any] | None:
    decoder = get_decoder(UID(words["syntax"]))
    decoded = quietly(
        lambda: decoder.as_array(
            data, index=0, raw=False, decoding_plugin="gdcm", **words["options"]
        )
    )
    return None if decoded is None else decoded[0]


def _answer(answers: BinaryIO, pixels: NDArray[Any] | None) -> None:
    if pixels is None:
        send(answers, {}, b"")
    else:
        words = {"dtype": pixels.dtype.name, "shape": pixels.shape}
        send(answers, words, np.ascontiguousarray(pixels).data.cast("B"))


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has none
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
