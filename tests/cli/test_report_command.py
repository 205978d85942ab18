"""`fedretune report`, and the report that a run leaves."""

import json

import pytest

from tests.report.made_runs import make_run


def test_a_run_leaves_its_report(fedretune, tiny, out):
    result = fedretune("simulate", *tiny.options(out))
    assert result.code == 0, result.err
    assert str(out / "it" / "report.html") in result.err
    text = (out / "it" / "report.html").read_text()
    assert "Run it - FedRETune" in text
    assert "fedretune simulate" in text
    assert "--set patience" not in text  # at its default


def test_a_report_is_written_into_the_runs_folder_or_where_it_is_told(fedretune, out):
    folder = make_run(out)
    result = fedretune("report", folder, "--json")
    assert json.loads(result.out) == {"report": str(folder / "report.html")}
    result = fedretune("report", folder, "-o", out / "other.html")
    assert result.code == 0, result.err
    assert (out / "other.html").read_text() == (folder / "report.html").read_text()


def test_several_runs_make_one_report_here(fedretune, out, monkeypatch):
    monkeypatch.chdir(out)
    assert fedretune("report", make_run(out, "a"), make_run(out, "b", seed=2)).code == 0
    assert "2 runs side by side" in (out / "report.html").read_text()


@pytest.mark.parametrize("what", ["nothing", "no-run"])
def test_what_is_no_run_is_refused(refused, out, what):
    (out / "no-run").mkdir()
    assert what in refused("report", out / what)


def test_a_folder_is_no_file_to_write(refused, out):
    assert "is a folder" in refused("report", make_run(out), "-o", out)
