"""PadChest: label lists, the table of terms, and what is dropped."""

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.data.readers.padchest import FINDINGS, TERMS, parse_list
from fedretune.errors import UserError
from fedretune.findings import NIH14
from tests.data.readers.trees import edit, padchest, reading


def test_terms_become_findings_and_the_terms_above_them(tmp_path: Path) -> None:
    table = reading("padchest", padchest(tmp_path)).table
    assert tuple(table.columns) == ("image", "patient", "view", "date", *FINDINGS)
    positive = [{name for name in FINDINGS if row[name] == 1} for _, row in table.iterrows()]
    assert positive[:4] == [
        set(),
        {"Fibrosis", "Infiltration"},
        {"Effusion", "Consolidation", "Infiltration", "Support Devices"},
        {"Cardiomegaly"},
    ]
    assert table["date"].iloc[0] == "2014-09-10"


def test_unchanged_leaves_what_is_not_named_unlabelled(tmp_path: Path) -> None:
    row = reading("padchest", padchest(tmp_path)).table.iloc[3]
    assert row["Cardiomegaly"] == 1
    assert all(np.isnan(row[name]) for name in FINDINGS if name != "Cardiomegaly")


def test_what_cannot_be_used_is_dropped_with_its_reason(tmp_path: Path) -> None:
    found = reading("padchest", padchest(tmp_path))
    assert found.dropped == {
        "'unchanged' from an earlier report, without a finding": 2,
        "labelled 'suboptimal study'": 2,
        "labelled 'exclude'": 2,
        "no labels": 2,
    }
    assert len(found.table) == 20 - 8


def test_unknown_terms_are_counted(tmp_path: Path) -> None:
    found = reading("padchest", padchest(tmp_path))
    assert found.unmapped == {"chronic changes": 2, "kyphosis": 2, "pseudonodule": 2, "tube'": 2}


def test_views_are_chosen_by_projection(tmp_path: Path) -> None:
    plan = padchest(tmp_path)
    edit(plan.files["labels"], "POSTEROANTERIOR,L,", "POSTEROANTERIOR,AP_horizontal,")
    assert set(reading("padchest", plan, views="frontal").table["view"]) == {"PA", "AP_horizontal"}


def test_the_table_of_terms_is_in_lower_case_and_covers_nihs_findings() -> None:
    terms = [term for finding in TERMS.values() for term in finding]
    assert all(term == " ".join(term.lower().split()) for term in terms)
    assert tuple(TERMS) == FINDINGS[:14] + FINDINGS[14:]
    assert set(NIH14) < set(TERMS)


@given(st.lists(st.text(alphabet="ab '\"\\[],é\n", max_size=8), max_size=5))
def test_any_list_that_python_writes_is_read_as_python_reads_it(items: list[str]) -> None:
    cell = str(items)
    assert parse_list(cell.replace("\\n", "\n")) == ast.literal_eval(cell)


@given(st.text(alphabet="[]'\", \\ab1(){}", max_size=12))
def test_what_python_does_not_read_as_a_list_of_texts_is_none(cell: str) -> None:
    parsed = parse_list(cell)
    if parsed:
        assert all(isinstance(item, str) for item in parsed)
        assert cell[0] == "["
        assert cell[-1] == "]"


@pytest.mark.parametrize(
    "cell",
    [
        "['a' 'b']",
        "['a'",
        "'a'",
        "[a]",
        "[1]",
        "[['a']]",
        "['a', *x]",
        "[__import__('os')]",
        "['a',,'b']",
        "[" * 10_000,
        "['" + "\\" * 50_001,
    ],
)
def test_anything_else_is_no_list(cell: str) -> None:
    assert parse_list(cell) is None


def test_a_broken_list_is_named_with_its_line(tmp_path: Path) -> None:
    plan = padchest(tmp_path)
    edit(plan.files["labels"], "['exclude']", "['exclude'")
    with pytest.raises(UserError, match="line 8: 'Labels' is not a list"):
        reading("padchest", plan)


def test_a_table_without_any_label_is_an_error(tmp_path: Path) -> None:
    plan = padchest(tmp_path)
    lines = plan.files["labels"].read_text().splitlines(keepends=True)
    plan.files["labels"].write_text(lines[0] + lines[8])
    with pytest.raises(UserError, match="no image has a label"):
        reading("padchest", plan)
