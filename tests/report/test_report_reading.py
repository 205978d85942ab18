"""A run folder is read as far as it is sound, and what is not is counted."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.errors import UserError
from fedretune.report import tables
from fedretune.report.histograms import Histograms, read_histograms, write_histograms
from fedretune.report.run import read_run
from tests.report.made_runs import FINDINGS, edges_of, make_run

HEADER = ",".join(tables.SITES)


def read(tmp_path, text, columns=tables.SITES):
    path = tmp_path / "sites.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    broken = Counter()
    return list(tables.read_rows(path, columns, broken)), broken["sites.csv"]


def test_sound_rows_are_read_with_their_types(tmp_path):
    rows, broken = read(tmp_path, f'{HEADER}\na,0,1,trained,\n"b, c",0,1,failed,"x ""y"""\n')
    assert rows == [["a", 0, 1, "trained", ""], ["b, c", 0, 1, "failed", 'x "y"']]
    assert broken == 0


@pytest.mark.parametrize(
    "line",
    ["a,0,1,trained", "a,0,1,trained,,", "a,x,1,trained,", ",0,1,trained,", '"a,0,1,trained,', ""],
    ids=["too few", "too many", "no number", "no name", "an open quotation", "empty"],
)
def test_a_broken_line_costs_itself_alone_and_is_counted(tmp_path, line):
    rows, broken = read(tmp_path, f"{HEADER}\na,0,1,trained,\n{line}\nb,0,2,trained,\n")
    assert [row[0] for row in rows] == ["a", "b"]
    assert broken == 1


def test_a_last_line_that_is_still_being_written_is_not_believed(tmp_path):
    rows, broken = read(tmp_path, f"{HEADER}\na,0,1,trained,\nb,0,2,tra")
    assert ([row[0] for row in rows], broken) == (["a"], 1)
    rows, broken = read(tmp_path, f"{HEADER}\na,0,1,trained,\nb,0,2,trained,")
    assert ([row[0] for row in rows], broken) == (["a"], 1)


@given(st.binary(max_size=300))
def test_whatever_a_table_holds_nothing_is_raised(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    rows, broken = read(folder, HEADER.encode() + b"\n" + content)
    assert len(rows) + broken <= content.count(b"\n") + 1
    path = folder / "metrics.jsonl"
    path.write_bytes(content)
    events = tables.read_events(path, Counter())
    assert all(isinstance(event["event"], str) for event in events)


def test_a_figure_is_finite_or_empty():
    assert tables.figure("0.5") == 0.5
    assert math.isnan(tables.figure(""))
    for text in ("nan", "inf", "-Infinity", "x"):
        with pytest.raises(ValueError, match=r"figure|convert"):
            tables.figure(text)


def test_events_are_read_past_a_broken_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ['{"event": "new"}', '{"event": ', "[1]", '{"time": 1}', '{"event": "end"}', '{"event']
    path.write_text("\n".join(lines))
    broken = Counter()
    events = tables.read_events(path, broken)
    assert [event["event"] for event in events] == ["new", "end"]
    assert broken["metrics.jsonl"] == 4


@given(st.sampled_from(sorted(tables.EVENTS)), st.data())
def test_an_event_that_lacks_what_its_kind_tells_is_broken(tmp_path_factory, kind, data):
    values = {int: 1, str: "a", list: [1], tables.NUMBER: 0.5}
    event = {name: values[type_] for name, type_ in tables.EVENTS[kind].items()}
    name = data.draw(st.sampled_from(sorted(event)))
    path = tmp_path_factory.mktemp("events") / "metrics.jsonl"
    whole, odd = {"event": kind, **event}, {"event": kind, **event, name: None}
    path.write_text(f"{json.dumps(whole)}\n{json.dumps(odd)}\n")
    broken = Counter()
    assert tables.read_events(path, broken) == [whole]
    assert broken["metrics.jsonl"] == 1


def test_a_run_is_read_whole(tmp_path):
    run = read_run(make_run(tmp_path))
    assert run.status == "complete"
    assert run.finding_names == list(FINDINGS)
    assert set(run.auroc["site"]) == {"pooled"}
    assert set(run.by_site.macro()) == {"site-1", "site-2"}
    assert set(run.histograms) == {"zero-shot", "adapted"}
    assert not run.broken


@pytest.mark.parametrize("made", [False, True], ids=["nothing there", "an empty folder"])
def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path, made):
    path = tmp_path / "no-run"
    if made:
        path.mkdir()
    with pytest.raises(UserError, match="no-run"):
        read_run(path)


@pytest.mark.parametrize(
    "text", ["[config", "a = 1\n", "config = 1\n", "[config]\n[[data]]\n", "a = 1\n[config]\n"]
)
def test_a_config_that_is_none_is_refused_by_name(tmp_path, text):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(UserError, match=r"config\.toml"):
        read_run(tmp_path)


def test_a_broken_summary_is_counted_and_the_run_is_taken_for_unfinished(tmp_path):
    folder = make_run(tmp_path)
    (folder / "summary.json").write_text('{"status": "compl')
    run = read_run(folder)
    assert (run.status, run.broken["summary.json"]) == ("unfinished", 1)


def test_histograms_come_back_as_they_were_and_replace_those_before(tmp_path):
    counts = np.arange(2 * 2 * 2 * 100).reshape(2, 2, 2, 100)
    for after in (0, 1):
        write_histograms(tmp_path, "adapted", Histograms(counts + after, edges_of(2), 3.0, after))
    found = read_histograms(tmp_path, "adapted", 2)
    assert (found.scale, found.after) == (3.0, 1)
    np.testing.assert_array_equal(found.counts, counts + 1)
    np.testing.assert_array_equal(found.edges, edges_of(2))


@given(st.integers(0), st.integers(1, 255))
def test_histograms_that_were_altered_raise_nothing(tmp_path_factory, place, change):
    folder = tmp_path_factory.mktemp("altered")
    counts = np.ones((2, 1, 2, 100), dtype=np.int64)
    write_histograms(folder, "adapted", Histograms(counts, edges_of(1), 1.0, 0))
    path = folder / "histograms" / "adapted.safetensors"
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= change
    path.write_bytes(bytes(content))
    read_histograms(folder, "adapted", 1)
    assert read_histograms(folder, "adapted", 5) is None
    assert read_histograms(folder, "absent", 1) is None
