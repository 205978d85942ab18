"""`fedretune study retune`: a whole table, and how it is gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from fedretune.cli.main import app
from fedretune.cli.processes import alive
from fedretune.study.plan import METHODS, QUICK, SCENARIOS
from tests.run_folders import adaptors

#: Enough to be a table: two methods in one scenario under one convention, one run at a time.
FEW = {
    "scenarios": "class-incremental",
    "unlabelled": "mask",
    "methods": "joint,retune",
    "seeds": 1,
    "jobs": 1,
}


def study_of(tiny, out, **changes):
    """Return the words of a small study into the folder `out`, with some options changed."""
    files = {"manifest": tiny.manifest, "backbone": f"local-dir:{tiny.backbone}", "out": out}
    options = {**files, **FEW, **changes}
    given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return ["study", "retune", "--quick", *given]


@pytest.fixture
def options(tiny, out):
    """Give a function from changes to the words of a small study, into ``study`` below `out`."""
    return lambda **changes: study_of(tiny, **{"out": out / "study", **changes})


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """Make a small study; give its folder and what the command printed."""
    folder = tmp_path_factory.mktemp("made") / "study"
    result = CliRunner().invoke(app, [*study_of(tiny, folder), "--json"])
    assert result.exit_code == 0, result.output
    return folder, result


@pytest.fixture
def study(made, out):
    """Give a copy of that study, at the place where the next one goes."""
    return Path(shutil.copytree(made[0], out / "study"))


def table(folder):
    """Return a study's rows, less what differs from one machine or one start to the next.

    A run that is resumed shakes hands again, which costs some bytes.
    """
    rows = pd.read_csv(folder / "table.csv")
    return rows.drop(columns=["wall_seconds", "bytes_up", "bytes_down"])


def test_a_study_leaves_a_table_and_a_folder_for_each_run(made):
    folder, result = made
    rows = table(folder)
    assert rows["method"].tolist() == ["joint", "retune"]
    assert {path.name for path in (folder / "runs").iterdir()} == set(rows["run"])
    for name, final in zip(rows["run"], rows["final_auroc"], strict=True):
        summary = json.loads((folder / "runs" / name / "summary.json").read_text())
        assert summary["final_auroc"] == final
    assert "# fedretune study retune" in (folder / "table.md").read_text()
    told = json.loads(result.stdout)
    assert told["folder"] == str(folder)
    assert [(row["method"], row["n"]) for row in told["rows"]] == [("joint", 1), ("retune", 1)]
    assert "2 runs, of which 0 are done." in result.stderr
    assert "[2/2] class-incremental mask       retune          seed 1   ." in result.stderr


def test_a_run_of_a_study_is_the_run_that_simulate_makes(made, fedretune, out, tiny):
    name = "class-incremental.mask.retune.seed-1"
    alone = tiny.options(out, name=name, scenario="class-incremental")
    quick = [text for key in QUICK for text in ("--set", f"{key}={QUICK[key]}")]
    assert fedretune("simulate", *alone, *quick).code == 0
    assert adaptors(out / name) == adaptors(made[0] / "runs" / name)


@pytest.mark.long
def test_what_is_done_is_not_done_again_and_more_can_follow(study, fedretune, options):
    before = {path: path.stat().st_mtime_ns for path in (study / "runs").rglob("*.*")}
    result = fedretune(*options(methods="joint,retune,zero-shot"))
    assert "3 runs, of which 2 are done." in result.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert table(study)["method"].tolist() == ["joint", "retune", "zero-shot"]


def test_a_finished_study_only_shows_its_table(study, fedretune, options):
    (study / "table.md").unlink()
    result = fedretune(*options())
    assert (result.code, result.out) == (0, "")
    assert "2 runs, of which 2 are done." in result.err
    assert (study / "table.md").is_file()


def test_another_config_is_refused_before_anything_runs(study, refused, options):
    message = refused(*options(methods="zero-shot,joint"), "--set", "train.lr=0.01")
    assert "class-incremental.mask.joint.seed-1 holds a run of another config" in message
    assert "train.lr was 0.0005 and is 0.01" in message
    assert "another --out" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": "retune,magic"}, "Unknown method 'magic'"),
        ({"methods": "joint+ewc"}, "needs a stream to forget"),
        ({"scenarios": "data"}, "Unknown scenario 'data'"),
        ({"unlabelled": "ignore"}, "Unknown convention for unlabelled findings 'ignore'"),
        ({"seeds": "1,x"}, "--seeds is '1,x'"),
        ({"methods": ","}, "--methods is empty"),
        ({"experiences": 900}, "at least one finding in each of its 900"),
        (
            {"experiences": 900, "scenarios": "data-incremental"},
            "has too few training patients for 900 experiences",
        ),
        ({"set": "method=joint"}, "A study sets 'method' itself"),
        ({"set": "train.lrr=1"}, "Did you mean 'train.lr'?"),
        ({"manifest": "/no/such.csv"}, "There is no manifest /no/such.csv"),
        ({"recipe": "precursor-class-incremental"}, "Unknown finding in groups"),
        ({"recipe": "precursor-data-incremental-5", "methods": "x"}, "Unknown method 'x'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_mend(refused, options, changes, words):
    assert words in refused(*options(**changes))


def test_all_runs_that_cannot_be_are_told_at_once_and_none_is_begun(refused, options):
    message = refused(
        *options(
            scenarios="data-incremental", methods="retune,joint-withheld,retune+replay", seeds="1,2"
        ),
        *("--set", "remedy.replay=1000"),
    )
    assert "4 of 6 runs cannot be, so none is begun." in message
    assert "data-incremental, joint-withheld, seed 1: Scenario 'data-incremental'" in message
    assert "data-incremental, retune+replay, seed 1: remedy.replay is 1000" in message


def test_a_recipe_that_would_make_another_study_of_it_is_refused(refused, options, tmp_path):
    changes = {"recipe": "nih14-label-incremental", "scenarios": "data-incremental"}
    message = refused(*options(**changes, experiences=5))
    assert "sets scenario = label-incremental where the study wants data-incremental" in message


def test_a_place_that_cannot_be_written_is_named(refused, options, out):
    (out / "file").write_text("mine")
    assert f"Cannot write to {out / 'file'}" in refused(*options(out=out / "file"))


def test_two_studies_do_not_write_one_folder(refused, options, out):
    (out / "study").mkdir()
    with FileLock(out / "study" / ".lock"):
        assert "Another study is at work" in refused(*options())


def started(options):
    """Start a study in a process of its own."""
    command = [sys.executable, "-m", "fedretune.cli.main", *options]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def until(condition):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not condition():
        time.sleep(0.02)
    return condition()


@pytest.mark.long
def test_a_study_killed_outright_goes_on_to_the_table_of_one_that_was_not(fedretune, options, out):
    killed, whole = (options(out=out / name, rounds=20) for name in ("killed", "whole"))
    second = out / "killed" / "runs" / "class-incremental.mask.retune.seed-1"
    with started(killed) as process:
        try:
            assert until(lambda: any(second.glob("checkpoints/step-00010.json")))
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert until(lambda: process.pid not in {group for _, _, group in alive()})
    assert not (second / "summary.json").exists()
    assert len(table(out / "killed")) == 1
    assert "Unfinished: 1 of 2 runs" in (out / "killed" / "table.md").read_text()
    result = fedretune(*killed)
    assert result.code == 0, result.err
    assert "2 runs, of which 1 are done." in result.err
    assert fedretune(*whole).code == 0
    pd.testing.assert_frame_equal(table(out / "killed"), table(out / "whole"), check_exact=True)


@pytest.mark.slow
def test_a_stopped_study_says_what_is_done_and_how_to_go_on(options, out):
    command = [sys.executable, "-m", "fedretune.cli.main", *options(rounds=200)]
    runs = out / "study" / "runs"
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as process:
        try:
            assert until(lambda: any(runs.glob("*/checkpoints/step-00010.json")))
            os.killpg(process.pid, signal.SIGINT)
            text = process.communicate(timeout=60)[1].decode()
        finally:
            process.kill()
    assert process.returncode == 130
    assert "0 of 2 runs are done" in text
    assert "The same command goes on from there." in text
    assert "Traceback" not in text


@pytest.mark.long
def test_quick_makes_the_whole_table(fedretune, tiny, out):
    files = ["--manifest", tiny.manifest, "--backbone", f"local-dir:{tiny.backbone}"]
    result = fedretune("study", "retune", "--quick", *files, "--out", out / "study")
    assert result.code == 0, result.err
    rows = table(out / "study")
    count = rows.fillna({"unlabelled": ""}).groupby(["scenario", "unlabelled"]).size()
    assert count.to_dict() == {
        (scenario, convention): 2 * (len(METHODS) - (convention == ""))
        for scenario in SCENARIOS
        for convention in ([""] if scenario == "data-incremental" else ["mask", "negative"])
    }
    assert rows["final_auroc"].between(0, 1).all()
    joint = rows[rows["method"] == "joint"]
    assert (joint["of_joint"] == 1).all()
    nothing = rows[rows["method"].isin(["zero-shot", "untrained"])]
    assert (nothing["trained_parameters"] == 0).all()
    assert (nothing["bytes_up_per_site_round"] == 0).all()
    text = Path(out / "study" / "table.md").read_text()
    assert text.count("## ") == 5 + 2
