"""GDCM's process: what kills it or holds it up costs a message, and no more."""

import os
import signal
import threading

import numpy as np
import pytest
from pydicom import uid

from fedretune.data.dicom import apart
from fedretune.data.images import decode_image
from fedretune.errors import UserError
from tests.data.dicoms import compressed, content, dataset, radiograph


def lossless(bits: int = 12) -> bytes:
    return content(compressed(dataset(radiograph(bits=bits), bits), uid.JPEGLosslessSV1))


def child_of(file: bytes) -> int:
    """Return the id of the process that has just decoded a file."""
    decode_image(file, "a.dcm")
    return apart._IDLE[-1].pid


def test_one_process_serves_one_image_after_the_other() -> None:
    assert child_of(lossless()) == child_of(lossless(16)) != os.getpid()


def test_a_process_that_died_idle_is_replaced() -> None:
    file = lossless()
    dead = child_of(file)
    os.kill(dead, signal.SIGKILL)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    assert child_of(file) != dead


def test_a_process_that_is_held_up_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    file = lossless()
    held = child_of(file)
    os.kill(held, signal.SIGSTOP)
    monkeypatch.setattr(apart, "SECONDS", 0.1)
    with pytest.raises(UserError, match="broken"):
        decode_image(file, "a.dcm")
    monkeypatch.undo()
    assert child_of(file) != held


def test_an_answer_of_another_kind_is_no_image() -> None:
    for words in ({}, {"dtype": "float64", "shape": [1]}, {"dtype": "uint8", "shape": [7]}):
        assert apart._array(words, b"12345678") is None
    assert apart._array({"dtype": "uint8", "shape": "x"}, b"1") is None


def test_threads_decode_at_the_same_time() -> None:
    file, images = lossless(), []
    expected = np.asarray(decode_image(file, "a.dcm"))
    threads = [
        threading.Thread(target=lambda: images.append(np.asarray(decode_image(file, "a.dcm"))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images) == 3
    assert all((image == expected).all() for image in images)


def test_a_forked_process_has_no_part_in_its_parents_children() -> None:
    child_of(lossless())
    pid = os.fork()
    if pid == 0:
        os._exit(len(apart._IDLE))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
