import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fedretune.errors import UserError
from scenarios import RunConfig
from scenarios.config import DEFAULTS, RECIPES, _flatten, load_recipe

ROOT = Path(__file__).parents[2]


def test_pyproject_repeats_every_key_with_its_default():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert _flatten(project["tool"]["flwr"]["app"]["config"]) == DEFAULTS


def test_flat_values_come_back_as_they_went_in():
    values = {"seed": 7, "adaptor.kind": "linear", "train.lr": 0.5, "partition": "iid"}
    assert RunConfig.from_flat(values).to_flat() == {**DEFAULTS, **values}


def test_texts_of_the_command_line_become_numbers_and_switches():
    config = RunConfig.from_flat({"seed": "7", "train.lr": "1e-4", "adaptor.residual": "false"})
    assert (config.seed, config.train.lr, config.adaptor.residual) == (7, 1e-4, False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sceanrio": "x"}, ["config key", "sceanrio", "Did you mean 'scenario'?", "experiences"]),
        ({"partition": "equal"}, ["partition", "'equal'", "'natural'", "'dirichlet'"]),
        ({"experiences": 0}, ["experiences", "0", "greater than or equal to 1"]),
        ({"train.epochs": "many"}, ["train.epochs", "'many'", "integer"]),
        ({"adaptor.kind": "lora9"}, ["lora9", "mlp", "linear"]),
        ({"recipe": "precurser"}, ["recipe", "Did you mean 'precursor'?"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(values, words):
    with pytest.raises(UserError) as error:
        RunConfig.from_flat(values)
    assert [word for word in words if word not in str(error.value)] == []


def test_a_recipe_fills_the_keys_left_at_their_default_and_no_other():
    config = RunConfig.from_flat({"recipe": "precursor", "rounds": 9})
    assert config.adaptor.scale == "none"
    assert config.rounds == 9


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_is_a_valid_config(path):
    config = RunConfig.from_flat({"recipe": path.stem}).to_flat()
    for key, value in load_recipe(path.stem).items():
        assert config[key] == value


def test_importing_the_scenarios_imports_neither_torch_nor_flower():
    code = "import sys, scenarios; print({'torch', 'flwr'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "set()", result.stderr
