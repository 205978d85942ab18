"""Secure sums on the server's disk."""

import os

import numpy as np

from fedretune.privacy.secure.about import About
from server.kept_sums import KEPT, KeptSums, Sum

ABOUT = About("run", "train", "adapted", 0, 1)
TOTAL = np.array([-(2**62), 0, 5], np.int64)


def test_a_sum_is_found_in_its_own_place_alone_whole_or_not_at_all(tmp_path):
    kept, told = KeptSums(tmp_path / "sums"), {"b": {"privacy": {"epsilon": 1.5}}, "ä": {}}
    assert kept.find(ABOUT) is None
    kept.keep(ABOUT, Sum(TOTAL, told))
    found = kept.find(ABOUT)
    np.testing.assert_array_equal(found.total, TOTAL)
    assert (found.total.dtype, dict(found.told)) == (np.int64, told)
    for other in ({"run": "other"}, {"round": 2}, {"kind": "evaluate.coarse"}):
        assert kept.find(ABOUT._replace(**other)) is None
    (file,) = kept.folder.iterdir()
    os.truncate(file, file.stat().st_size - 3)
    assert kept.find(ABOUT) is None


def test_sums_that_are_long_past_are_forgotten_and_in_the_end_all(tmp_path):
    kept = KeptSums(tmp_path / "sums")
    for round_ in range(KEPT + 3):
        kept.keep(ABOUT._replace(round=round_), Sum(TOTAL, {}))
    there = [kept.find(ABOUT._replace(round=round_)) is not None for round_ in range(KEPT + 3)]
    assert there == [False] * 3 + [True] * KEPT
    kept.drop()
    assert not kept.folder.exists()
