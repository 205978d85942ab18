import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fedretune.metrics.forgetting import FORMULAS, summarise, summarise_findings

unit = st.floats(0, 1)
tables = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=unit)
squares = st.integers(1, 6).flatmap(lambda n: arrays(np.float64, (n, n), elements=unit))


def test_a_worked_example() -> None:
    a = [[0.80, 0.50, 0.50], [0.90, 0.70, 0.60], [0.60, 0.75, 0.90]]
    found = summarise(a, [0.40, 0.45, 0.70])
    assert found.final == pytest.approx((0.60 + 0.75 + 0.90) / 3)
    assert found.forgetting == pytest.approx(((0.90 - 0.60) + 0) / 2)
    assert found.backward_transfer == pytest.approx(((0.60 - 0.80) + (0.75 - 0.70)) / 2)
    assert found.forward_transfer == pytest.approx(((0.50 - 0.45) + (0.60 - 0.70)) / 2)


@given(squares, st.integers(0, 5))
def test_the_formulas_written_out_in_loops_agree(a: np.ndarray, seed: int) -> None:
    last, b = len(a) - 1, np.random.default_rng(seed).random(len(a))
    found = summarise(a, b)
    assert found.final == pytest.approx(sum(a[last]) / len(a))
    others = (found.forgetting, found.backward_transfer, found.forward_transfer)
    if not last:
        assert np.isnan(others).all()
        return
    forgot = [max(0.0, max(a[t, e] for t in range(e, last)) - a[last, e]) for e in range(last)]
    moved = [a[last, e] - a[e, e] for e in range(last)]
    ahead = [a[e - 1, e] - b[e] for e in range(1, last + 1)]
    assert others == pytest.approx([sum(x) / last for x in (forgot, moved, ahead)])


@given(tables)
def test_without_a_row_for_each_experience_there_is_only_a_final_figure(a: np.ndarray) -> None:
    found = summarise(a, a[0])
    assert found.final == pytest.approx(a[-1].mean())
    if a.shape[0] != a.shape[1]:
        others = (found.forgetting, found.backward_transfer, found.forward_transfer)
        assert np.isnan(others).all()


def test_without_the_untrained_adaptor_there_is_no_forward_transfer() -> None:
    found = summarise([[0.8, 0.5], [0.8, 0.7]])
    assert math.isnan(found.forward_transfer)
    assert found.forgetting == 0.0


@given(tables, st.data())
def test_the_formulas_by_finding_written_out_in_loops_agree(
    a: np.ndarray, data: st.DataObject
) -> None:
    last, findings = a.shape[0] - 1, range(a.shape[1])
    first = [data.draw(st.integers(-1, last)) for _ in findings]
    found = summarise_findings(a, first)
    final = [a[last, f] for f in findings if first[f] >= 0]
    forgot = [
        max(0.0, max(a[t, f] for t in range(first[f], last)) - a[last, f])
        for f in findings
        if 0 <= first[f] < last
    ]
    assert found.trained_final == pytest.approx(np.mean(final) if final else np.nan, nan_ok=True)
    assert found.forgetting == pytest.approx(np.mean(forgot) if forgot else np.nan, nan_ok=True)


def test_a_finding_overwritten_by_a_later_one_is_forgotten_though_the_mean_rises() -> None:
    a = np.array([[0.9, 0.5, 0.5], [0.6, 0.9, 0.5], [0.6, 0.6, 0.9]])
    assert summarise(a.mean(1, keepdims=True).repeat(3, 1)).forgetting == 0.0
    assert summarise_findings(a, [0, 1, 2]).forgetting == pytest.approx(0.3)


def test_what_a_finding_loses_before_it_is_trained_is_not_forgetting() -> None:
    found = summarise_findings([[0.8, 0.9], [0.8, 0.7], [0.8, 0.7]], [0, 1])
    assert found.forgetting == 0.0


def test_an_undefined_finding_is_left_out() -> None:
    nan = float("nan")
    found = summarise_findings([[0.9, 0.8, nan], [0.7, nan, nan]], [0, 0, 0])
    assert (found.trained_final, found.forgetting) == (pytest.approx(0.7), pytest.approx(0.2))


@pytest.mark.parametrize(
    ("a", "first", "message"),
    [
        ([[0.5, 0.5]], [0], "first"),
        ([], [], "F"),
        ([[0.5], [0.5]], [2], "names step 2, and there are 2"),
    ],
)
def test_steps_that_do_not_fit_the_table_are_an_error(a: list, first: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarise_findings(a, first)


def test_an_untrained_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="b must be"):
        summarise([[0.5, 0.5]], [0.5])


def test_the_formulas_fit_a_terminal() -> None:
    assert max(map(len, FORMULAS.splitlines())) <= 100


@given(squares)
def test_forgetting_is_at_least_minus_backward_transfer(a: np.ndarray) -> None:
    found = summarise(a)
    if len(a) > 1:
        assert found.forgetting >= max(0.0, -found.backward_transfer) - 1e-12


@given(st.floats(0, 1), st.integers(2, 5))
def test_what_never_changes_is_not_forgotten(value: float, experiences: int) -> None:
    found = summarise(np.full((experiences, experiences), value), np.full(experiences, value))
    others = (found.forgetting, found.backward_transfer, found.forward_transfer)
    assert others == (0.0, 0.0, 0.0)
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
