"""The plan, the rows and the tables of `study attacks`."""

import pandas as pd
import pytest

from fedretune.study.attack_report import AttackReport, by_strategy, holding
from fedretune.study.attacks import EXPECTED, NONE, AttackCell, make_plan, row_of


def test_the_plan_has_each_run_once_and_those_without_attackers_first():
    cells = make_plan(["nan", "alie"], ["fedavg", "krum"], [2, 1], [1, 2])
    assert len(cells) == len(set(cells)) == 2 * (2 + 2 * 2 * 2)
    assert [cell.name for cell in cells[:3]] == [
        "none.0.fedavg.seed-1",
        "none.0.krum.seed-1",
        "nan.1.fedavg.seed-1",
    ]


def test_a_run_without_attackers_has_no_attack():
    settings = AttackCell(NONE, 0, "krum", 3).settings()
    assert settings == {
        "strategy": "krum",
        "attack": "",
        "attackers": 0,
        "seed": 3,
        **EXPECTED["krum"],
    }


def test_a_row_says_what_share_of_the_attackers_and_of_the_others_was_left_out():
    rounds = [(site, e, r) for site in "abc" for e in (0, 1) for r in (0, 1)]
    statuses = {("a", 0, 0): "quarantined", ("a", 0, 1): "quarantined", ("b", 1, 1): "silent"}
    sites = pd.DataFrame(
        [(*where, statuses.get(where, "trained")) for where in rounds] + [("a", -1, -1, "joined")],
        columns=["site", "experience", "round", "status"],
    )
    summary = {"sites": ["a", "b", "c"], "final_auroc": 0.8, "wall_seconds": 1.0}
    row = row_of(AttackCell("alie", 1, "fedavg", 1), "plausible", summary, sites, ["a"])
    assert (row["caught"], row["honest_left_out"]) == (0.5, 0.125)
    row = row_of(AttackCell(NONE, 0, "fedavg", 1), "", summary, sites, [])
    assert row["caught"] is None


def rows_of(finals):
    """Return rows of two strategies from {(attack, attackers): (final, final)}."""
    return [
        {
            "attack": attack,
            "kind": "",
            "attackers": attackers,
            "strategy": strategy,
            "seed": 1,
            "final_auroc": final,
            "caught": 0.5 if attackers else None,
            "honest_left_out": 0.0,
            "run": f"{attack}.{attackers}.{strategy}",
            "wall_seconds": 2.0,
        }
        for (attack, attackers), both in finals.items()
        for strategy, final in zip(("fedavg", "krum"), both, strict=True)
        if final is not None
    ]


FINALS = {
    (NONE, 0): (0.900, 0.895),
    ("alie", 1): (0.890, 0.880),
    ("nan", 1): (0.899, 0.891),
    ("alie", 2): (0.700, 0.896),
    ("nan", 2): (0.899, None),
}


@pytest.fixture
def report(tmp_path):
    rows = rows_of(FINALS)
    report = AttackReport(tmp_path, [row["run"] for row in rows], {"rounds": 2})
    for row in rows:
        report.add(row)
    return report


def test_what_holds_is_told_against_the_mean_without_attackers_in_the_worst_attack(report):
    table = holding(report.frame()).set_index("strategy, by attackers")
    assert table.loc["fedavg"].tolist() == ["0.000", "0.010", "**0.200** (alie)"]
    assert table.loc["krum"].tolist() == ["0.005", "**0.020** (alie)", "-"]


def test_a_table_has_a_row_an_attack_and_a_column_a_strategy(report):
    table = by_strategy(report.frame(), 2)
    assert table.to_numpy().tolist() == [
        ["none", "0.900", "0.895", ""],
        ["alie", "0.700", "0.896", "50%"],
        ["nan", "0.899", "-", "50%"],
    ]


def test_the_document_says_what_is_missing_and_why(report, tmp_path):
    report.order = [*report.order, "nan.2.krum"]
    report.stopped["nan.2.krum"] = "too few; /a/path says why"
    report.write()
    text = (tmp_path / "table.md").read_text()
    assert "**Finished: 9 of 10 runs.**" in text
    assert "- stopped: too few: nan.2.krum\n" in text
    assert "- not at their default: `rounds = 2`" in text
    assert len(pd.read_csv(tmp_path / "table.csv")) == 9
