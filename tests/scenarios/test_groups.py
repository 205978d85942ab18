"""Which findings an experience trains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.errors import UserError
from fedretune.findings import NIH14
from scenarios import SCENARIOS, RunConfig
from scenarios.groups import finding_groups
from tests.scenarios.tables import scenario_of, table_of

ABC = ("Mass", "Edema", "Hernia")


def trained(scenario, findings=ABC, **values):
    return SCENARIOS[scenario](RunConfig.from_flat({"scenario": scenario, **values}), findings)


def test_fourteen_findings_in_five_experiences_are_groups_of_3_3_3_3_and_2():
    groups = finding_groups(RunConfig(scenario="class-incremental"), NIH14)
    assert [len(group) for group in groups] == [3, 3, 3, 3, 2]
    assert sum(groups, ()) == NIH14


@given(findings=st.integers(1, 30), data=st.data())
def test_groups_of_their_own_hold_every_finding_once_in_nearly_equal_sizes(findings, data):
    experiences = data.draw(st.integers(1, findings))
    names = tuple(f"finding {number}" for number in range(findings))
    groups = finding_groups(RunConfig(experiences=experiences), names)
    sizes = [len(group) for group in groups]
    assert sum(groups, ()) == names
    assert len(groups) == experiences
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


def test_class_incremental_trains_each_group_alone():
    groups = {"groups": "Hernia; Edema ,Mass", "experiences": 2}
    assert trained("class-incremental", **groups) == (("Hernia",), ("Edema", "Mass"))


def test_label_incremental_trains_the_groups_so_far():
    groups = {"groups": "Hernia;Edema;Mass", "experiences": 3}
    assert trained("label-incremental", **groups) == (
        ("Hernia",),
        ("Hernia", "Edema"),
        ("Hernia", "Edema", "Mass"),
    )


def test_data_incremental_trains_all_findings_in_any_number_of_experiences():
    assert trained("data-incremental", experiences=20) == (ABC,) * 20


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_every_scenario_trains_known_findings_in_each_experience(name):
    each = trained(name, experiences=3)
    assert len(each) == 3
    assert all(findings and set(findings) <= set(ABC) for findings in each)


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_every_scenario_defines_itself_in_a_docstring_that_names_it(name):
    module = __import__(SCENARIOS[name].__module__, fromlist=["doc"])
    assert module.__doc__.startswith(f"The {name} scenario.")
    assert "withheld" in module.__doc__


@pytest.mark.parametrize(
    ("values", "withholds"),
    [
        ({"scenario": "data-incremental"}, False),
        ({"scenario": "class-incremental"}, True),
        ({"scenario": "label-incremental"}, True),
        ({"scenario": "label-incremental", "experiences": 1}, False),
        ({"scenario": "label-incremental", "experiences": 1, "groups": "Mass, Edema"}, True),
        ({"scenario": "data-incremental", "schedule": "partial-labels"}, False),
    ],
)
def test_a_scenario_withholds_where_some_experience_does_not_train_some_finding(values, withholds):
    assert scenario_of(table_of(60), **{"experiences": 3, **values}).withholds is withholds


def test_a_finding_in_no_group_is_never_trained_and_still_there_to_evaluate():
    groups = {"groups": "Mass; Hernia", "experiences": 2}
    scenario = scenario_of(table_of(60), scenario="class-incremental", **groups)
    column = scenario.findings.index("Edema")
    lessons = [scenario.lesson(site, step) for site in scenario.sites for step in range(2)]
    assert not any(lesson.trains[:, column].any() for lesson in lessons)


@pytest.mark.parametrize("scenario", ["class-incremental", "label-incremental"])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"groups": "Mass; Edma", "experiences": 2},
            ["Unknown finding", "'Edma'. Did you mean 'Edema'?", "Edema, Hernia, Mass"],
        ),
        ({"groups": "Mass; Edema, Mass", "experiences": 2}, ["'Mass' more than once"]),
        ({"groups": "Mass, Mass", "experiences": 1}, ["'Mass' more than once"]),
        ({"groups": "Mass;; Edema", "experiences": 3}, ["Group 2", "names no finding"]),
        ({"groups": "Mass; Edema;", "experiences": 2}, ["Group 3", "none at the end"]),
        ({"groups": "Mass,, Edema", "experiences": 1}, ["Group 1", "names no finding"]),
        ({"groups": "Mass; Edema"}, ["2 groups", "experiences is 5", "set experiences = 2"]),
        ({"experiences": 4}, ["4 experiences", "has 3", "set experiences = 3 or fewer"]),
    ],
)
def test_groups_that_cannot_be_are_refused_with_the_mend(scenario, values, words):
    with pytest.raises(UserError) as error:
        trained(scenario, **values)
    assert [word for word in words if word not in str(error.value)] == []


def test_data_incremental_takes_no_groups():
    with pytest.raises(UserError, match="leave groups empty, or choose class-incremental"):
        trained("data-incremental", groups="Mass; Edema", experiences=2)
