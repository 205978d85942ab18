"""Every recipe makes a scenario of the data that it was written for."""

import pytest

from fedretune.findings import CHEXPERT5, NIH14
from scenarios import RunConfig, build_scenario
from scenarios.config import RECIPES, load_recipe
from tests.scenarios.tables import table_of

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))


def built(name):
    findings = NIH14 if name.startswith("nih14") else CHEXPERT5
    config = RunConfig.from_flat({"recipe": name})
    return config, build_scenario(config, table_of(400, findings=findings), findings, 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_builds_a_stream_that_trains_every_finding(name):
    config, scenario = built(name)
    assert scenario.steps == scenario.experiences == config.experiences
    assert set().union(*scenario.trained) == set(scenario.findings)
    lesson = scenario.lesson(scenario.sites[0], 0)
    assert lesson.trains.any()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("precursor")])
def test_every_precursor_recipe_has_the_precursors_own_settings(name):
    recipe = load_recipe(name)
    assert {key: recipe[key] for key in load_recipe("precursor")} == load_recipe("precursor")


def test_the_precursor_streams_one_finding_an_experience_in_its_own_order():
    assert built("precursor-class-incremental")[1].trained == tuple((f,) for f in CHEXPERT5)
    assert built("precursor-label-incremental")[1].trained[-1] == CHEXPERT5


@pytest.mark.parametrize(
    ("federated", "precursor"),
    [
        ("chexpert-federated", "precursor-data-incremental-5"),
        ("chexpert-federated-class-incremental", "precursor-class-incremental"),
    ],
)
def test_federated_sizes_take_as_many_passes_and_change_nothing_else(federated, precursor):
    one, other = load_recipe(federated), load_recipe(precursor)
    assert one["rounds"] * one["train.epochs"] == other["rounds"] * other["train.epochs"]
    changed = {key for key in one | other if one.get(key) != other.get(key)}
    assert changed == {"rounds", "train.epochs", "train.batch-size"}


def test_nih_groups_are_the_same_for_both_streams():
    both = [load_recipe(f"nih14-{kind}-incremental")["groups"] for kind in ("class", "label")]
    assert both[0] == both[1]
