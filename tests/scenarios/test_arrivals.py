"""Which experience an image belongs to: a column, time, or as before by patients."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.errors import UserError
from scenarios.arrivals import by_date, by_experience
from tests.scenarios.tables import scenario_of, table_of


def dated(days: list[int], sites: list[int], train: list[bool]) -> pd.DataFrame:
    first = np.datetime64("2020-01-01")
    return pd.DataFrame(
        {
            "date": [str(first + day) for day in days],
            "site": [f"h{site}" for site in sites],
            "split": np.where(train, "train", "test"),
        }
    )


rows = st.tuples(st.integers(0, 40), st.integers(0, 2), st.booleans())


@given(st.lists(rows, min_size=1, max_size=60), st.integers(1, 6))
def test_time_is_cut_in_order_and_one_day_is_never_parted(drawn, experiences):
    days, sites, train = map(list, zip(*drawn, strict=True))
    found = by_date(dated(days, sites, train), np.array(sites), experiences, 0)
    assert set(found.tolist()) <= set(range(experiences))
    for site in set(sites):
        here = [(day, found[i]) for i, day in enumerate(days) if sites[i] == site]
        by_day = [experience for _, experience in sorted(here)]
        assert by_day == sorted(by_day)
        assert len({experience for _, experience in here}) <= len({day for day, _ in here})


@given(st.permutations(range(24)), st.integers(1, 6))
def test_where_each_image_has_its_own_day_the_training_images_fall_in_equal_parts(order, parts):
    table = dated(list(order), [0] * 24, [True] * 24)
    counts = np.bincount(by_date(table, np.zeros(24, np.int64), parts, 0), minlength=parts)
    assert counts.max() - counts.min() <= 1


def test_a_sites_experiences_by_date_do_not_depend_on_the_other_sites():
    table = dated([1, 5, 9, 100, 500, 900], [0, 0, 0, 1, 1, 1], [True] * 6)
    both = by_date(table, np.array([0, 0, 0, 1, 1, 1]), 3, 0)
    alone = by_date(table[3:].reset_index(drop=True), np.zeros(3, np.int64), 3, 0)
    assert both[3:].tolist() == alone.tolist() == [0, 1, 2]


def test_the_column_experience_counts_from_one_and_may_leave_one_empty():
    table = pd.DataFrame({"experience": ["1", "3", "3.0"]})
    assert by_experience(table, np.zeros(3, np.int64), 4, 0).tolist() == [0, 2, 2]


@pytest.mark.parametrize("value", ["0", "5", "1.5", "", "first", "nan", "inf"])
def test_what_is_no_number_of_an_experience_is_refused_and_not_repeated(value):
    table = pd.DataFrame({"experience": ["1", value]})
    with pytest.raises(UserError, match="whole numbers from 1 to 4") as raised:
        by_experience(table, np.zeros(2, np.int64), 4, 0)
    assert "a run of 4" in raised.value.public


@pytest.mark.parametrize(("arrival", "says"), [("date", "'date'"), ("experience", "'experience'")])
def test_a_manifest_without_the_column_is_refused(arrival, says):
    with pytest.raises(UserError, match=f"needs a column {says}"):
        scenario_of(table_of(40), arrival=arrival, experiences=2)


def test_a_date_that_is_none_is_refused_and_not_repeated():
    table = table_of(40).assign(date="Mrs Miller")
    table = table[[*table.columns[:4], "date", *table.columns[4:-1]]]
    with pytest.raises(UserError, match="on every row") as raised:
        by_date(table, np.zeros(len(table), np.int64), 2, 0)
    assert "Miller" not in str(raised.value)
