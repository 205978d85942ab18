"""`fedretune status`: of runs that go on, are complete, have failed or were killed."""

import json

import pytest

from server.locking import locked, release


@pytest.fixture
def run(fedretune, tiny, out):
    assert fedretune("simulate", *tiny.options(out)).code == 0
    return out / "it"


def test_a_complete_run_is_told_with_where_it_ended_and_every_site(fedretune, run):
    shown = fedretune("status", run)
    assert shown.code == 0
    assert "complete" in shown.err
    assert "experience 2 of 2, round 1 of 1: 2 of 2 sites' replies are in" in shown.err
    told = json.loads(fedretune("status", run, "--json").out)
    assert told["bytes"]["up"] > 0 < told["bytes"]["down"]
    assert {site["status"] for site in told["sites"].values()} == {"trained"}
    summary = json.loads((run / "summary.json").read_text())
    assert told["auroc"] == pytest.approx(summary["final_auroc"], abs=1e-6)


def test_a_run_that_a_process_is_at_work_on_goes_on(fedretune, run):
    (run / "summary.json").unlink()
    lock = locked(run)
    try:
        shown = fedretune("status", run)
    finally:
        release(lock)
    assert (shown.code, "running" in shown.err) == (0, True)


def test_a_killed_run_has_an_exit_code_and_says_how_to_go_on(fedretune, run):
    (run / "summary.json").unlink()
    (run / ".lock").touch()  # a kill leaves the file, and nobody who holds it
    shown = fedretune("status", run)
    assert shown.code == 1
    assert "--resume --name it" in shown.err


def test_a_failed_run_has_an_exit_code_and_its_reason(fedretune, run):
    (run / "summary.json").write_text(json.dumps({"status": "failed", "reason": "Too few."}))
    shown = fedretune("status", run, "--json")
    assert shown.code == 1
    assert json.loads(shown.out)["reason"] == "Too few."
    assert "Too few." in shown.err


def test_flowers_errors_are_told_in_words(fedretune, run):
    with (run / "sites.csv").open("a") as file:
        file.write("site-1,1,0,failed,Flower error 2\n")
    told = json.loads(fedretune("status", run, "--json").out)
    assert "pinned" in told["sites"]["site-1"]["reason"]
    assert told["sites"]["site-1"]["left_out"] == 1


def test_what_is_no_run_is_named(refused, out):
    assert "nothing" in refused("status", out / "nothing")
