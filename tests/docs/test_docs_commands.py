"""Every command that README and docs show can be given, and the tutorials' do what they say."""

import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import typer

from fedretune.cli.main import app
from tests.docs.blocks import PAGES, ROOT, Block, blocks
from tests.e2e.conftest import marked

SCRIPTS = Path(sys.executable).parent
COMMANDS = sorted(
    {command for page in PAGES for block in blocks(page) for command in block.commands}
)
#: Pages whose blocks are run in order, each page in an empty folder of its own.
RUN = ["docs/index.md", *sorted(str(page) for page in PAGES if "tutorials" in page.parts)]
#: Seconds that a page's commands may take.
PATIENCE = 480


def words_of(command: str) -> list[list[str]]:
    """Return the words of each simple command of a line, without what the shell adds to them."""
    first = command.partition("\n")[0]
    lexer = shlex.shlex(first, posix=True, punctuation_chars="&|<>;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&|<>;"):
            found.append([] if word in ("&&", "|", ";", "&") else ["true"])
        else:
            found[-1].append(word)
    return [[each for each in words if not re.match(r"[A-Z_]+=", each)] for words in found]


def parse(words: list[str]) -> None:
    """Have the command line take the words of a `fedretune` command, without running it."""
    command = typer.main.get_command(app)
    context = click.Context(command, info_name="fedretune")
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, command, rest = command.resolve_command(context, rest)
        assert command is not None, f"there is no command {name}"
        context = click.Context(command, info_name=name, parent=context)
    if "--help" in rest:
        return
    command.make_context(context.info_name, rest, parent=context.parent)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_is_one_that_there_is(command):
    for words in words_of(command):
        if not words:
            continue
        name = Path(words[0]).name
        if name == "fedretune":
            parse(words)
        elif name == "make":
            makefile = (ROOT / "Makefile").read_text()
            targets = re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE)
            assert set(words[1:]) <= set(targets)
        elif name in ("python", "python3") and words[1:2] == ["-m"]:
            assert find_spec(words[2])
        elif name == "pytest":
            assert (ROOT / words[1]).exists()


@pytest.mark.parametrize("page", [str(page) for page in PAGES])
def test_every_block_of_commands_is_run_or_says_why_not(page):
    for block in blocks(Path(page)):
        assert page in RUN or block.reason, block.commands
        for named in re.findall(r"(?:tests|docs)/[\w./-]+", block.reason):
            assert (ROOT / named).exists(), named


def runnable(page: str) -> list[Block]:
    return [block for block in blocks(Path(page)) if not block.reason]


@pytest.mark.long
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run_one_after_the_other(page, tmp_path):
    script = "\n".join(command for block in runnable(page) for command in block.commands)
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": f"{SCRIPTS}:/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "FLWR_TELEMETRY_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    mark = f"FEDRETUNE_TEST_MARK={uuid.uuid4().hex}"
    work = tmp_path / "work"
    work.mkdir()
    bash = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=work,
        env=environment | dict([mark.split("=")]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = bash.communicate(timeout=PATIENCE)
    finally:
        for process in marked(mark):  # what the page started in the background
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    logs = "".join(each.read_text(errors="replace")[-3000:] for each in work.glob("*.log"))
    assert bash.returncode == 0, printed[-6000:] + logs
