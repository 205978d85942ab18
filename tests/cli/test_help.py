"""A newcomer finds his way: examples that are right, groups, exit codes, completion."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

from fedretune.cli import completion
from fedretune.cli.examples import EXAMPLES
from fedretune.cli.main import app
from tests.docs.test_docs_commands import parse


def commands(command=None, words=()):
    """Yield the words of every command."""
    command = command or typer.main.get_command(app)
    if not isinstance(command, click.Group):
        yield " ".join(words)
        return
    for name, each in command.commands.items():
        yield from commands(each, (*words, name))


ALL = sorted(commands())


@pytest.mark.parametrize("example", sorted(each for found in EXAMPLES.values() for each in found))
def test_an_example_is_a_command_that_there_is(example):
    parse(["fedretune", *shlex.split(example)])


@pytest.mark.parametrize("words", ALL)
def test_every_command_shows_an_example(fedretune, words):
    shown = " ".join(fedretune(*words.split(), "--help").out.split())
    assert f"fedretune {words}" in shown.partition("Usage: ")[2].partition(words)[2]


def test_examples_are_of_commands_that_there_are():
    assert set(EXAMPLES) <= set(ALL)


def test_exit_codes_are_told(fedretune):
    assert "Exit codes: 0 done" in " ".join(fedretune("--help").out.split())


def test_the_options_of_a_run_are_in_groups(fedretune):
    shown = fedretune("simulate", "--help").out
    for group in ("What is run", "On what", "Where, and how fast"):
        assert group in shown


@pytest.mark.parametrize(
    ("complete", "begun", "expected"),
    [
        (completion.methods, "lw", ["lwf"]),
        (completion.methods, "lwf+loc", ["lwf+local"]),
        (completion.scenarios, "class", ["class-incremental"]),
        (completion.attacks, "sign-flip", ["sign-flip", "sign-flip-3"]),
        (completion.settings, "train.l", ["train.lr="]),
        (completion.recipes, "nih14-c", ["nih14-class-incremental"]),
        (completion.backbones, "pha", ["phantom-clip"]),
    ],
    ids=["method", "second part", "scenario", "attack", "key", "recipe", "backbone"],
)
def test_what_has_been_begun_is_completed(complete, begun, expected):
    assert complete(begun) == expected


def test_without_an_app_nothing_of_it_is_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fedretune.__file__", str(tmp_path / "a" / "fedretune" / "__init__.py"))
    assert completion.scenarios("") == []


def test_a_shell_gets_its_completions():
    environment = {
        **os.environ,
        "_FEDRETUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": "fedretune simulate --method ew",
        "COMP_CWORD": "3",
    }
    script = Path(sys.executable).parent / "fedretune"
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["ewc"]
