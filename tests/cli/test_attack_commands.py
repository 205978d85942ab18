"""`simulate --attack`, failures, and `study attacks`, as a shell calls them."""

import json

import pandas as pd
import pytest

from fedretune.cli.study_attacks import finish
from fedretune.errors import RunFailedError
from fedretune.study.attack_report import AttackReport
from tests.run_folders import adaptors


def test_simulate_lets_sites_attack_and_ends(fedretune, tiny, out):
    options = tiny.options(out, attack="nan", attackers=1)
    result = fedretune("simulate", *options, "--json")
    assert result.code == 0, result.err
    rows = pd.read_csv(out / "it" / "sites.csv")
    assert (rows["status"] == "quarantined").any()
    assert json.loads(result.out)["final_auroc"] is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--attack", "nann", "--attackers", "1"], "Did you mean 'nan'"),
        (["--attack", "nan", "--attackers", "2"], "at least one site must be honest"),
        (["--attack", "nan"], "give both, or none"),
        (["--set", "failures=crash"], "such as crash:0.1, slow:0.1, leave:0.2"),
    ],
)
def test_attackers_and_failures_that_cannot_be_are_refused(refused, tiny, out, options, words):
    assert words in refused("simulate", *tiny.options(out), *options)


@pytest.mark.parametrize(
    "options", [["--attack", "nan", "--attackers", "1"], ["--set", "failures=crash:0.5"]]
)
def test_run_has_no_attackers_and_no_failures(refused, tiny, out, options):
    assert "are for `fedretune simulate`" in refused("run", *tiny.options(out), *options)


def words_of(tiny, out, **changes):
    """Return the words of a study of two runs, with some options changed."""
    options = {
        "manifest": tiny.manifest,
        "backbone": f"local-dir:{tiny.backbone}",
        "out": out / "study",
        "sites": 2,
        "attacks": "nan",
        "strategies": "fedavg",
        "attackers": 1,
        "jobs": 1,
        **changes,
    }
    given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return ["study", "attacks", "--quick", *given]


def test_a_study_of_attacks_leaves_its_tables_and_goes_on_where_it_was(fedretune, tiny, out):
    result = fedretune(*words_of(tiny, out), "--json")
    assert result.code == 0, result.err
    assert [row["attack"] for row in json.loads(result.out)["rows"]] == ["none", "nan"]
    table = pd.read_csv(out / "study" / "table.csv", keep_default_na=False)
    assert table["run"].tolist() == ["none.0.fedavg.seed-1", "nan.1.fedavg.seed-1"]
    assert table["caught"].tolist() == ["", "1.0"]
    assert "# fedretune study attacks" in (out / "study" / "table.md").read_text()
    before = adaptors(out / "study" / "runs" / "nan.1.fedavg.seed-1")
    again = fedretune(*words_of(tiny, out))
    assert "2 runs, of which 2 are done." in again.err
    assert adaptors(out / "study" / "runs" / "nan.1.fedavg.seed-1") == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attacks": "alie,magic"}, "Unknown attack 'magic'"),
        ({"attackers": "1,x"}, "--attackers is '1,x'"),
        ({"attackers": 2}, "at least one site must be honest"),
        ({"strategies": "median"}, "Unknown strategy 'median'"),
        ({"set": "attack=nan"}, "A study sets 'attack' itself"),
        ({"seeds": "a"}, "--seeds is 'a'"),
    ],
)
def test_a_study_that_cannot_be_is_refused(refused, tiny, out, changes, words):
    assert words in refused(*words_of(tiny, out, **changes))


def test_a_run_that_attackers_stop_is_a_result_and_one_that_breaks_is_not(tmp_path):
    report = AttackReport(tmp_path, ["stopped", "broken"], {})
    (tmp_path / "runs" / "stopped").mkdir(parents=True)
    (tmp_path / "runs" / "stopped" / "summary.json").write_text('{"status": "failed"}')
    finish(report, {"stopped": "Only 1 of 2 sites"}, as_json=False)
    assert report.stopped == {"stopped": "Only 1 of 2 sites"}
    with pytest.raises(RunFailedError, match="1 of 2 runs failed"):
        finish(report, {"broken": "TypeError"}, as_json=False)
