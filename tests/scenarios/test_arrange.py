import numpy as np
import pytest

from fedretune.errors import UserError
from scenarios import RunConfig, arrange, first_trained
from tests.scenarios.tables import FINDINGS, scenario_of, table_of

WITHHOLDING = {"scenario": "class-incremental", "experiences": 3}


def arranged(**values):
    scenario = scenario_of(table_of(150, sites=3), **values)
    return arrange(RunConfig.from_flat(values), scenario)


def test_central_is_pooled_and_joint_is_one_step():
    assert arranged(method="central").sites == ("central",)
    assert arranged(method="joint", experiences=3).steps == 1
    assert arranged(method="joint+central", experiences=3).sites == ("central",)


def test_joint_withheld_shows_each_image_with_the_labels_of_its_experience():
    scenario = arranged(method="joint-withheld", **WITHHOLDING)
    lesson = scenario.lesson(scenario.sites[0], 0)
    assert (lesson.trains.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"method": "joint-withheld"}, "'data-incremental' withholds no label"),
        ({"method": "central", "schedule": "late-join"}, "synchronous or partial-labels"),
        ({"method": "replay", "remedy.replay": 500}, "remedy.replay is 500, and site"),
    ],
)
def test_a_method_that_makes_no_sense_here_is_refused_before_anything_is_trained(values, words):
    with pytest.raises(UserError, match=words):
        arranged(experiences=3, **values)


@pytest.mark.parametrize("schedule", ["synchronous", "asynchronous", "late-join", "partial-labels"])
@pytest.mark.parametrize("method", ["retune", "joint", "joint-withheld"])
def test_the_step_that_first_trains_a_finding_is_that_of_the_lessons(schedule, method):
    values = {**WITHHOLDING, "method": method, "schedule": schedule, "join-at": 2}
    scenario = arranged(**values)
    expected = {}
    for step in range(scenario.steps):
        taught = [scenario.lesson(site, step).trains.any(axis=0) for site in scenario.sites]
        for finding, trained in zip(FINDINGS, np.any(taught, axis=0), strict=True):
            if trained:
                expected.setdefault(finding, step)
    assert first_trained(RunConfig.from_flat(values), FINDINGS, 3) == expected
