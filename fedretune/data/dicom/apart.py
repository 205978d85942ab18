"""GDCM in a process of its own, as bytes that are no image can crash it or hold it up.

A child serves one image at a time and lives on; the others wait in `_IDLE`. What is broken costs
the child, and the caller gets a message.
"""

import atexit
import json
import os
import struct
import subprocess
import sys
import threading
from collections import deque
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

SECONDS = 60.0  # that an image may take: about 0.3 a typical one

_LENGTHS = struct.Struct("<QQ")  # of the words, as JSON, and of the bytes that follow them
_DTYPES = ("uint8", "int8", "uint16", "int16")
_IDLE: deque["subprocess.Popen[bytes]"] = deque()


def decode_apart(data: bytes, syntax: str, options: dict[str, Any]) -> NDArray[Any] | None:
    """Decode one encapsulated frame with GDCM; None if it cannot be decoded in `SECONDS`.

    Parameters
    ----------
    data : bytes
        The value of ``PixelData``.
    syntax : str
        The transfer syntax's UID.
    options : dict[str, Any]
        For pydicom's decoder; JSON.
    """
    child = _take()
    limit = threading.Timer(SECONDS, child.kill)
    limit.start()
    try:
        assert child.stdin
        assert child.stdout
        send(child.stdin, {"syntax": syntax, "options": options}, data)
        words, pixels = receive(child.stdout)
    except Exception:  # whatever a broken child may send
        child.kill()
        _bury(child)
        return None
    finally:
        limit.cancel()
    _IDLE.append(child)
    return _array(words, pixels)


def send(file: IO[bytes], words: dict[str, Any], data: bytes | memoryview) -> None:
    """Write words and bytes. Raises `OSError` where nobody reads."""
    text = json.dumps(words).encode()
    file.write(_LENGTHS.pack(len(text), len(data)) + text)
    file.write(data)
    file.flush()


def receive(file: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read words and bytes. Raises `EOFError` where nobody writes any more."""
    text, data = _LENGTHS.unpack(_exactly(file, _LENGTHS.size))
    return json.loads(_exactly(file, text)), _exactly(file, data)


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _array(words: dict[str, Any], data: bytes) -> NDArray[Any] | None:
    """Return the array that a child describes; it is not trusted more than the file."""
    if words.get("dtype") not in _DTYPES:
        return None
    try:
        return np.frombuffer(data, dtype=words["dtype"]).reshape(words["shape"])
    except (ValueError, TypeError):
        return None


def _take() -> "subprocess.Popen[bytes]":
    while True:
        try:
            child = _IDLE.pop()
        except IndexError:
            return _start()
        if child.poll() is None:
            return child
        _bury(child)


def _start() -> "subprocess.Popen[bytes]":
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return subprocess.Popen(
        # -P: what lies in the current folder is not imported.
        [sys.executable, "-P", "-m", "fedretune.data.dicom.gdcm_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # GDCM prints values of headers
        env={**os.environ, **one_thread},
    )


def _bury(child: "subprocess.Popen[bytes]") -> None:
    for pipe in (child.stdin, child.stdout):
        try:
            if pipe:
                pipe.close()
        except OSError:  # what was left to write has no reader
            pass
    child.wait()


@atexit.register
def _end() -> None:
    while _IDLE:
        child = _IDLE.pop()
        child.kill()
        _bury(child)


if hasattr(os, "register_at_fork"):  # a forked process must not talk to its parent's children
    os.register_at_fork(after_in_child=_IDLE.clear)
