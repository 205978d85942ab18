"""What a study runs: each cell once, under a name of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.errors import UserError
from fedretune.methods import method_of
from fedretune.study.plan import CONVENTIONS, METHODS, QUICK, make_plan, names_in, seeds_in
from scenarios import RunConfig

names = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)


@given(st.dictionaries(st.sampled_from(["x", "y", "z"]), st.booleans(), min_size=1), names, names)
def test_every_cell_is_planned_once_and_has_a_name_of_its_own(withholds, conventions, methods):
    cells = make_plan(withholds, conventions, methods, (1, 2))
    each = sum(len(conventions) if withheld else 1 for withheld in withholds.values())
    assert len(set(cells)) == len(cells) == each * len(methods) * 2
    assert len({cell.name for cell in cells}) == len(cells)


def test_only_where_labels_are_withheld_is_there_a_convention_to_choose():
    cells = make_plan({"whole": False, "part": True}, CONVENTIONS, ["retune"], [1])
    assert [cell.name for cell in cells] == [
        "whole.retune.seed-1",
        "part.mask.retune.seed-1",
        "part.negative.retune.seed-1",
    ]
    assert "unlabelled" not in cells[0].settings()
    assert cells[2].settings()["unlabelled"] == "negative"


def test_all_is_run_with_one_seed_before_anything_is_with_the_next():
    seeds = [cell.seed for cell in make_plan({"a": True, "b": False}, CONVENTIONS, None, (3, 1))]
    assert seeds == [3] * (len(seeds) // 2) + [1] * (len(seeds) // 2)


def test_a_method_that_needs_withheld_labels_is_left_out_elsewhere_unless_it_is_named():
    def planned(withheld, methods):
        return {cell.method for cell in make_plan({"s": withheld}, ["mask"], methods, [1])}

    assert planned(True, None) == set(METHODS)
    assert planned(False, None) == set(METHODS) - {"joint-withheld"}
    assert planned(False, ["joint-withheld"]) == {"joint-withheld"}


def test_the_default_methods_are_known():
    assert [method_of(name).name for name in METHODS] == list(METHODS)


def test_what_quick_changes_is_a_config():
    assert RunConfig.from_flat(QUICK).rounds == QUICK["rounds"]


def test_a_list_is_read_once_each_and_in_order():
    assert names_in(" b, a,b,", "--methods") == ("b", "a")
    assert seeds_in("3,1,03") == (3, 1)


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "1 2", "²"])
def test_a_seed_that_is_no_whole_number_is_refused(text):
    with pytest.raises(UserError, match=r"--seeds is .* whole numbers from 0"):
        seeds_in(text)


def test_an_empty_list_is_refused():
    with pytest.raises(UserError, match="--methods is empty"):
        names_in(" ,", "--methods")
