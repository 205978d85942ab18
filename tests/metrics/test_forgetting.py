import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fedretune.metrics.forgetting import summarise

tables = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(0, 1)
)


def test_a_worked_example() -> None:
    found = summarise([[0.80, 0.50, 0.50], [0.90, 0.70, 0.60], [0.60, 0.75, 0.90]])
    assert found.final == pytest.approx((0.60 + 0.75 + 0.90) / 3)
    assert found.forgetting == pytest.approx(((0.90 - 0.60) + 0) / 2)
    assert found.backward_transfer == pytest.approx(((0.60 - 0.80) + (0.75 - 0.70)) / 2)


@given(tables)
def test_the_formulas_written_out_in_loops_agree(a: np.ndarray) -> None:
    steps, experiences = a.shape
    last, past = steps - 1, [e for e in range(experiences) if e < steps - 1]
    forgot = [max(0.0, max(a[t, e] for t in range(e, last)) - a[last, e]) for e in past]
    moved = [a[last, e] - a[e, e] for e in past]
    found = summarise(a)
    assert found.final == pytest.approx(sum(a[last]) / experiences)
    if not past:
        assert math.isnan(found.forgetting)
        assert math.isnan(found.backward_transfer)
        return
    assert found.forgetting == pytest.approx(sum(forgot) / len(past))
    assert found.backward_transfer == pytest.approx(sum(moved) / len(past))


@given(tables)
def test_forgetting_is_at_least_minus_backward_transfer(a: np.ndarray) -> None:
    found = summarise(a)
    if a.shape[0] > 1:
        assert found.forgetting >= max(0.0, -found.backward_transfer) - 1e-12


@given(st.floats(0, 1), st.integers(2, 5), st.integers(1, 5))
def test_what_never_changes_is_not_forgotten(value: float, steps: int, experiences: int) -> None:
    found = summarise(np.full((steps, experiences), value))
    assert (found.forgetting, found.backward_transfer) == (0.0, 0.0)
    assert found.final == pytest.approx(value)


def test_one_experience_leaves_nothing_to_forget() -> None:
    found = summarise([[0.8]])
    assert found.final == 0.8
    assert math.isnan(found.forgetting)
    assert math.isnan(found.backward_transfer)


def test_an_undefined_entry_is_left_out() -> None:
    nan = float("nan")
    found = summarise([[0.8, nan, 0.5], [nan, 0.7, 0.5], [0.7, nan, 0.9]])
    assert found.final == pytest.approx(0.8)
    assert found.forgetting == pytest.approx(0.1)
    assert found.backward_transfer == pytest.approx(-0.1)


def test_all_undefined_is_nan() -> None:
    found = summarise(np.full((3, 3), np.nan))
    assert all(math.isnan(v) for v in (found.final, found.forgetting, found.backward_transfer))


@pytest.mark.parametrize("a", [[], [[]], [0.5]])
def test_no_table_is_an_error(a: list) -> None:
    with pytest.raises(ValueError, match="T and E of 1 or more"):
        summarise(a)
