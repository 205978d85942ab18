"""What every finished run folder has."""

from contextlib import contextmanager

import pytest

import server.folder

FILES = {
    "config.toml",
    "metrics.jsonl",
    "auroc.csv",
    "measures.csv",
    "findings.csv",
    "traffic.csv",
    "sites.csv",
    "privacy.csv",
    "checkpoints",
    "histograms",
    "adaptors.safetensors",
    "summary.json",
}


class Killed(BaseException):
    """As abrupt as a kill: nothing in the run may catch it."""


@contextmanager
def killed_after(step, monkeypatch):
    """Kill the run inside the block before its checkpoint after `step` steps can be passed."""
    checkpoint = server.folder.RunFolder.checkpoint

    def dying(self, number, arrays):
        if number > step:
            raise Killed
        checkpoint(self, number, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(server.folder.RunFolder, "checkpoint", dying)
        with pytest.raises(Killed):
            yield


def adaptors(folder):
    return (folder / "adaptors.safetensors").read_bytes()
