"""What a site left unsent: read of before a round, kept for it, forgotten long after."""

import numpy as np
import pytest

from clients.memory import KEPT, SiteMemory
from fedretune.errors import UserError


@pytest.fixture
def memory(tmp_path):
    return SiteMemory.of(str(tmp_path), "run", "north/site-1")


def vector(value):
    return np.full(3, value, np.float32)


def test_a_round_reads_what_the_last_one_before_it_left(memory):
    assert memory.residual(0, 0) is None
    memory.keep_residual(0, 4, vector(1))
    memory.keep_residual(1, 2, vector(2))
    assert memory.residual(0, 4) is None
    for where, value in (((0, 5), 1), ((1, 0), 1), ((1, 2), 1), ((1, 3), 2), ((7, 0), 2)):
        np.testing.assert_array_equal(memory.residual(*where), vector(value))


def test_a_repeated_round_reads_the_same_and_its_residual_replaces_the_lost_one(memory):
    for round_ in range(4):
        memory.keep_residual(0, round_, vector(round_))
    np.testing.assert_array_equal(memory.residual(0, 2), vector(1))
    memory.keep_residual(0, 2, vector(9))
    np.testing.assert_array_equal(memory.residual(0, 2), vector(1))
    np.testing.assert_array_equal(memory.residual(0, 3), vector(9))


def test_only_the_last_residuals_are_kept_and_a_run_begun_again_keeps_its_own(memory):
    for round_ in range(3 * KEPT):
        memory.keep_residual(0, round_, vector(round_))
    assert len(list(memory.folder.iterdir())) == KEPT
    memory.keep_residual(0, 0, vector(7))
    np.testing.assert_array_equal(memory.residual(0, 1), vector(7))


def test_a_residual_is_no_part_of_what_remedies_remember(memory):
    memory.keep_residual(0, 0, vector(1))
    assert memory.begun(0) is None
    assert memory.latest(1) == {}


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc"])
def test_a_runs_name_that_is_no_folders_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="no folder's name"):
        SiteMemory.of(str(tmp_path), name, "site-1")
