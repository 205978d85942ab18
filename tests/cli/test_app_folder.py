"""Finding the app; and what a bare `flwr run` would install for it."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest

from fedretune.cli.app_folder import find_app
from fedretune.errors import UserError

PROJECT = Path(__file__).parents[2]


def test_the_app_is_found_here_above_and_beside_the_library(tmp_path, monkeypatch):
    for here in (PROJECT, PROJECT / "tests" / "cli", tmp_path):
        monkeypatch.chdir(here)
        assert find_app().path == PROJECT
    assert find_app(PROJECT).server_name == "server.app:app"


def test_a_folder_named_by_hand_must_be_the_app_itself(tmp_path):
    for folder in (tmp_path, PROJECT / "tests"):
        with pytest.raises(UserError, match="no FedRETune app in"):
            find_app(folder)


def test_a_bare_flwr_run_is_told_to_install_nothing():
    """Flower has uv resolve all dependencies and extras: one that is left is looked for online."""
    tables = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    project = tables["project"]
    extras = itertools.chain(*project["optional-dependencies"].values())
    wanted = [*project["dependencies"], *extras]
    names = {re.split(r"[\[<>=~! ;]", each)[0].lower().replace("_", "-") for each in wanted}
    assert names - set(tables["tool"]["uv"]["exclude-dependencies"]) == set()
