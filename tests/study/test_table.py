"""The table's arithmetic, against summaries made by hand."""

import json
import math
import statistics as reference

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedretune.study.plan import Cell
from fedretune.study.report import Report, compact
from fedretune.study.table import (
    COLUMNS,
    FINAL,
    FORGETTING,
    SECONDS,
    Statistics,
    frame_of,
    records,
    row_of,
    short,
)

GROUP = ("class-incremental", "mask", "retune")


def row(method="retune", seed=1, unlabelled="mask", **figures):
    rule = {
        "final_auroc": 0.8,
        "forgetting": None,
        "finding_forgetting": 0.1,
        "backward_transfer": -0.02,
        "forward_transfer": 0.01,
        "average_precision": 0.3,
        "f1": 0.4,
        "ece": 0.05,
        "auroc_after_experience": [[0.5]],
        **figures,
    }
    summary = {
        "by_scoring": {"difference": rule, "positive": rule},
        "bytes_up_per_site_round": 2500.0,
        "bytes_up": 5000,
        "bytes_down": 1000,
        "quarantined": [],
        "wall_seconds": 10.0,
    }
    return row_of(Cell("class-incremental", unlabelled, method, seed), summary, 1234)


def summed(*rows):
    return Statistics.of(frame_of(rows))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_mean_and_deviation_are_those_of_the_standard_library(finals):
    found = summed(*(row(seed=seed, final_auroc=value) for seed, value in enumerate(finals)))
    assert found.mean[GROUP]["final_auroc"] == pytest.approx(reference.mean(finals))
    assert found.sd[GROUP]["final_auroc"] == pytest.approx(reference.stdev(finals), abs=1e-9)
    assert found.seeds(GROUP) == len(finals)


def test_a_figure_is_written_as_mean_and_deviation_and_with_one_seed_as_it_is():
    two = summed(row(seed=1, final_auroc=0.7), row(seed=2, final_auroc=0.8))
    assert two.cell(GROUP, FINAL) == "0.750 ± 0.071"
    one = summed(row(final_auroc=0.7))
    assert one.cell(GROUP, FINAL) == "0.700"
    assert one.cell(GROUP, FORGETTING) == "-"


def test_an_undefined_figure_is_left_out_of_its_mean_alone():
    found = summed(row(seed=1, f1=None), row(seed=2, f1=0.5), row(seed=3, f1=0.7))
    assert found.mean[GROUP]["f1"] == pytest.approx(0.6)
    assert found.seeds(GROUP) == 3


def test_the_share_of_joint_is_taken_seed_by_seed_and_in_the_same_convention():
    frame = frame_of(
        [
            row(seed=1, final_auroc=0.4),
            row("joint", seed=1, final_auroc=0.8),
            row(seed=2, final_auroc=0.9),
            row("joint", seed=2, final_auroc=0.9),
            row(seed=1, unlabelled="negative", final_auroc=0.4),
        ]
    )
    assert frame["of_joint"].tolist()[:4] == pytest.approx([0.5, 1, 1, 1])
    assert math.isnan(frame["of_joint"].iloc[4])


def test_scenarios_and_conventions_have_tables_of_their_own_in_the_order_of_the_plan():
    rows = [row("retune"), row("joint"), row("ewc", unlabelled="negative"), row("retune", seed=2)]
    assert summed(*rows).tables() == {
        ("class-incremental", "mask"): [GROUP, ("class-incremental", "mask", "joint")],
        ("class-incremental", "negative"): [("class-incremental", "negative", "ewc")],
    }


def test_a_leading_zero_alone_is_left_out():
    assert short("0.874 ± 0.012") == ".874 ± .012"
    assert short("10.05 -0.5 100.0 ± 0.0") == "10.05 -.5 100.0 ± .0"


def test_what_machines_get_is_json_without_nan():
    found = records(summed(row(seed=1), row(seed=2)))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)[0]["n"] == 2
    assert found[0]["figures"]["forgetting"] == {"mean": None, "sd": None}
    assert found[0]["method"] == "retune"


CONFIG = {
    "config": {"manifest": "m.csv", "backbone": "b", "seed": 1},
    "fingerprints": {"backbone": "f00", "prompts": "ba7"},
    "versions": {"fedretune": "0.1.0"},
}


def test_the_tables_on_disk_say_what_was_run_and_how_much_of_it_is_done(tmp_path):
    rows = [row(seed=1), row(seed=2, final_auroc=0.9)]
    report = Report(tmp_path, [each["run"] for each in rows], {"rounds": 9})
    report.write()
    assert list(tmp_path.iterdir()) == []  # nothing to tell yet
    report.add(rows[1], CONFIG)
    report.write()
    text = (tmp_path / "table.md").read_text()
    assert "**Unfinished: 1 of 2 runs.**" in text
    report.add(rows[0], CONFIG)
    report.write()
    text = (tmp_path / "table.md").read_text()
    for words in ("2 runs.", "f00", "`rounds = 9`", "fedretune 0.1.0", "backward transfer = mean"):
        assert words in text
    assert (tmp_path / "table.csv").read_text().splitlines()[1].startswith("class-incremental,mask")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["table.csv", "table.md"]


def test_every_row_of_the_markdown_has_a_cell_for_each_column(tmp_path):
    report = Report(tmp_path, [row()["run"]], {})
    report.add(row(), CONFIG)
    report.write()
    lines = [line for line in (tmp_path / "table.md").read_text().splitlines() if line[:1] == "|"]
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 3}
    assert "| retune | 0.800 | - | - | 0.100 | -0.020 | +0.010 |" in lines[2]
    assert lines[2].endswith("| 1,234 | 2.5 | 10.0 | 1 |")


def test_fingerprints_that_differ_between_runs_are_all_told(tmp_path):
    report = Report(tmp_path, [], {})
    report.add(row(seed=1), CONFIG)
    report.add(row(seed=2), {**CONFIG, "fingerprints": {"backbone": "f01", "prompts": "ba7"}})
    assert "backbone's fingerprint: `f00 | f01`" in list(report._about())


def test_the_table_on_a_terminal_fits_into_80_characters_and_no_figure_is_cut():
    rows = [row("retune+replay+x", seed, wall_seconds=1e3 * seed) for seed in (1, 2)]
    rows += [row("joint", seed) for seed in (1, 2)]
    found = summed(*[{**each, "wall_seconds": 100.0 * each["seed"]} for each in rows])
    made = Console(width=80, color_system=None)
    with made.capture() as captured:
        for table in compact(found):
            made.print(table)
    text = captured.get()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert short(found.cell((*GROUP[:2], "joint"), SECONDS)).replace(" ", "") in text
