"""The command line, called in this process as a shell calls it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedretune.cli.main import main
from tests.cli.tiny import Tiny, make_tiny


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code, and its text with every run of blanks as one."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where run folders go: a folder that is there, and empty."""
    path = tmp_path / "runs"
    path.mkdir()
    return path


@pytest.fixture
def fedretune(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    # The suite has a process for each core already; tests/server/test_workers.py has the forks.
    monkeypatch.setattr("fedretune.cli.runs.cores", lambda: 1)

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["fedretune", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        seen = capsys.readouterr()
        return Result(code, seen.out, " ".join(seen.err.split()))

    return call


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `run` prepare in this process, which has torch imported already."""
    monkeypatch.setattr("fedretune.cli.runs.apart", lambda work, *given: work(*given))


@pytest.fixture
def refused(fedretune: Callable[..., Result], out: Path) -> Callable[..., str]:
    """Call a command that must be refused: one message, exit code 2, nothing written."""

    def call(*arguments: object) -> str:
        before = sorted(out.rglob("*"))
        result = fedretune(*arguments)
        assert (result.code, result.out) == (2, ""), result.err
        assert result.err.count("Error:") == 1
        assert "Traceback" not in result.err
        assert sorted(out.rglob("*")) == before
        return result.err

    return call
