"""The frame: what is measured when, what comes out of it, and where it goes."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.bench.frame import Case, Measured, Result, Sample, Side, measure, rate_of
from fedretune.bench.process import printed
from fedretune.bench.report import table, to_json, write
from fedretune.bench.run import cache_in
from fedretune.errors import UserError
from fedretune.paths import cache_folder


def scripted(name: str, values: list[float], calls: list[str], peak: float | None = 1.0) -> Side:
    """Return a side that gives `values` in turn and writes its name into `calls`."""
    left = iter(values)

    def once() -> Sample:
        calls.append(name)
        return Sample(next(left), peak)

    return Side(f"what {name} does", once)


def result(with_floor: bool = True) -> Result:
    calls: list[str] = []
    floor = scripted("b", [9, 2, 2, 2], calls) if with_floor else None
    return measure("row", Case("s", scripted("a", [9, 1, 3, 5], calls), floor, {"n": 7}), 3)


def test_the_sides_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    case = Case("s", scripted("a", [0.0] * 4, calls), scripted("b", [1.0] * 4, calls))
    measure("row", case, 3)
    assert "".join(calls) == "ab" + "ab" * 3


def test_a_side_alone_is_warmed_up_and_repeated() -> None:
    calls: list[str] = []
    measured = measure("row", Case("s", scripted("a", [9.0, 1.0, 2.0], calls)), 2)
    assert calls == ["a"] * 3
    assert measured.a.values == (1.0, 2.0)
    assert measured.b is None
    assert measured.ratio is None


def test_a_row_that_says_how_often_is_taken_so_and_not_warmed_up() -> None:
    calls: list[str] = []
    a, b = scripted("a", [1.0, 2.0], calls), scripted("b", [3.0, 4.0], calls)
    measured = measure("row", Case("s", a, b, repeats=2), 7)
    assert "".join(calls) == "abab"
    assert measured.a.values == (1.0, 2.0)


@given(
    st.lists(st.floats(0.1, 10), min_size=5, max_size=9),
    st.lists(st.floats(0.1, 10), min_size=9, max_size=9),
)
def test_the_ratio_is_that_of_the_medians_without_the_warm_up(
    a: list[float], b: list[float]
) -> None:
    b, calls = b[: len(a)], []
    case = Case("s", scripted("a", [1e9, *a], calls), scripted("b", [1e9, *b], calls))
    measured = measure("row", case, len(a))
    assert measured.a.values == tuple(a)
    assert measured.a.median == np.median(a)
    assert measured.ratio == pytest.approx(np.median(a) / np.median(b))


def test_the_peak_is_the_highest_that_is_known() -> None:
    assert Measured("a", (1.0, 1.0, 1.0), (3.0, None, 5.0)).peak_mib == 5.0
    assert Measured("a", (1.0,), (None,)).peak_mib is None


PEAKS = """
import numpy as np
from fedretune.bench.frame import seconds_of
quiet = seconds_of(lambda: None).peak_mib
loud = seconds_of(lambda: np.ones(50 * 2**20, dtype=np.uint8)).peak_mib
after = seconds_of(lambda: None).peak_mib
print(loud - quiet, loud - after)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a peak cannot be reset")
def test_memory_that_work_takes_is_in_its_peak_and_not_in_the_next() -> None:
    # In a process of its own: what other tests have left may be given back meanwhile.
    more, less = map(float, printed(("-c", PEAKS)).split())
    assert more >= 45
    assert less >= 45


def test_a_rate_is_things_over_seconds() -> None:
    one, many = (rate_of(lambda: sum(range(200_000)), count).value for count in (1, 10**9))
    assert many > 1000 * one > 0


def test_the_json_holds_every_sample_and_what_it_was_measured_on() -> None:
    content = json.loads(json.dumps(to_json([result()], {"cpu": "x"}, {"scale": "quick"})))
    assert content["schema"] == 1
    assert content["machine"] == {"cpu": "x"}
    assert content["settings"] == {"scale": "quick"}
    assert content["rows"] == [
        {
            "name": "row",
            "unit": "s",
            "a": {"what": "what a does", "median": 3, "samples": [1, 3, 5], "peak_mib": 1},
            "b": {"what": "what b does", "median": 2, "samples": [2, 2, 2], "peak_mib": 1},
            "ratio": 1.5,
            "facts": {"n": 7},
        }
    ]


def test_a_row_without_a_floor_has_no_ratio_in_the_json() -> None:
    (row,) = to_json([result(with_floor=False)], {}, {})["rows"]
    assert row["b"] is None
    assert row["ratio"] is None


def test_the_table_shows_both_sides_in_80_columns() -> None:
    from rich.console import Console

    console = Console(width=80, file=io.StringIO())
    console.print(table([result(), result(with_floor=False)]))
    text = console.file.getvalue()
    assert text.count("what a does") == 2
    assert text.count("what b does") == 1
    assert "1.50 x" in text
    assert max(map(len, text.splitlines())) == 80


def test_a_place_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out"):
        write(tmp_path / "file" / "bench.json", {})


def test_a_row_has_a_cache_of_its_own_and_gives_the_users_back(tmp_path: Path) -> None:
    before = cache_folder()
    with cache_in(tmp_path / "own"):
        assert cache_folder() == tmp_path / "own"
        with cache_in(tmp_path / "inner"):
            assert cache_folder() == tmp_path / "inner"
        assert cache_folder() == tmp_path / "own"
    assert cache_folder() == before
