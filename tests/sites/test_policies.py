"""What a policy allows, what a small cell is, and what a ledger remembers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedretune import wire
from fedretune.errors import UserError
from fedretune.evaluation import COARSE_BINS
from fedretune.sites import Ledger, Policy
from fedretune.sites.policy import with_noise, without_small_cells

POLICY = {"methods": ["retune"], "adaptors": ["mlp"]}
counts = hnp.arrays(np.uint16, hnp.array_shapes(max_dims=4, max_side=6), elements=st.integers(0, 9))


@given(counts, st.integers(0, 12))
def test_a_cell_below_the_threshold_is_0_and_counted_and_every_other_stays(cells, smallest):
    held, suppressed = without_small_cells(cells, smallest)
    small = (cells > 0) & (cells < smallest)
    assert suppressed == small.sum()
    np.testing.assert_array_equal(held[~small], cells[~small])
    assert not held[small].any()
    assert (held.dtype, held.shape) == (cells.dtype, cells.shape)


@given(counts, st.integers(0, 1))
def test_a_threshold_of_0_or_1_suppresses_nothing(cells, smallest):
    assert without_small_cells(cells, smallest)[1] == 0


def test_the_number_of_suppressed_cells_may_leave_with_a_histogram_and_need_not():
    schema = wire.coarse_schema(3)
    arrays = {"histogram": {"coarse": np.zeros((2, 3, 2, COARSE_BINS), np.uint16)}}
    scalars = {"metrics": {"experience": 0, "num-examples": 1}}
    wire.check(schema, arrays, scalars)
    wire.check(schema, arrays, {**scalars, "suppressed": {"cells": 4}})
    for bad in ({}, {"cells": "4"}, {"cells": 4, "patient": 7}):
        with pytest.raises(wire.WireError):
            wire.check(schema, arrays, {**scalars, "suppressed": bad})


def test_a_training_reply_has_no_place_for_it():
    with pytest.raises(wire.WireError, match="unexpected record"):
        wire.check(wire.HANDSHAKE, {}, {"site": {}, "suppressed": {"cells": 1}})


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(1, 6), st.integers(1, 10))
def test_training_replies_to_a_run_and_to_all_are_counted(trained, a_run, in_all):
    policy = Policy.model_validate({**POLICY, "rounds": a_run, "rounds-in-all": in_all})
    spent = trained.count("a") >= a_run or len(trained) >= in_all
    if spent:
        with pytest.raises(UserError, match="spent"):
            policy.check_left("a", trained)
    else:
        policy.check_left("a", trained)


def test_what_a_ledger_notes_is_read_again_and_a_run_may_be_called_anything(tmp_path):
    ledger = Ledger(tmp_path / "left.csv")
    assert ledger.rows() == []
    ledger.note('a,"b"\nc', "train", 0, 1, 5, "")
    ledger.note("d", "train", 0, 2, 0, "declined, as it is")
    ledger.note("e", "evaluate.coarse", 0, -1, 3, "")
    assert [row["run"] for row in ledger.rows()] == ['a,"b"\nc', "d", "e"]
    assert list(ledger.trained()) == ['a,"b"\nc']


def test_a_torn_ledger_is_refused_rather_than_forgotten(tmp_path):
    ledger = Ledger(tmp_path / "left.csv")
    ledger.note("a", "train", 0, 1, 5, "")
    ledger.path.write_text(ledger.path.read_text() + "2026-01-01T00:00:00Z,a,tr")
    with pytest.raises(UserError, match="damaged"):
        list(ledger.trained())


def test_noise_of_cells_is_two_sided_geometric_and_leaves_no_count_below_0():
    cells = np.full(200_000, 1000, np.uint16)
    noise = with_noise(cells, 2.0).astype(np.int64) - 1000
    ratio = np.exp(-1 / 2.0)
    assert np.mean(noise == 0) == pytest.approx((1 - ratio) / (1 + ratio), abs=0.01)
    for away in (1, 2, 3):
        share = np.mean(noise == away) / np.mean(noise == away - 1)
        assert share == pytest.approx(ratio, rel=0.05)
        assert np.mean(noise == -away) == pytest.approx(np.mean(noise == away), rel=0.1)
    few = with_noise(np.zeros((3, 500), np.uint16), 5.0)
    assert (few.shape, few.dtype) == ((3, 500), np.uint16)
    assert few.any()


@given(counts)
def test_noise_without_a_scale_changes_nothing_that_matters(cells):
    assert with_noise(cells, 1e-3).tolist() == cells.tolist()
