"""The app under Flower: `fedretune run`, and a bare `flwr run`, as real processes."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import PATIENCE, SCRIPTS, way_out
from tests.run_folders import FILES, adaptors

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
#: Ray asks in which cloud it is; these lead no further than to the machine's own host.
NEARBY = (b"//169.254.169.254/", b"//metadata.google.internal/")


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    """Return the folder of the same run, in one process and from beginning to end."""
    out = tmp_path_factory.mktemp("undisturbed")
    command = [SCRIPTS / "fedretune", "simulate", *tiny.options(out, rounds=2)]
    subprocess.run(command, check=True, capture_output=True)
    return out / "it"


def test_run_gives_the_bytes_of_simulate_and_leaves_no_process(start, tiny, tmp_path, undisturbed):
    run = start("fedretune", "run", *tiny.options(tmp_path, rounds=2), "--json")
    code, err = run.end()
    assert code == 0, err
    assert run.left_behind() == []
    folder = tmp_path / "it"
    assert {path.name for path in folder.iterdir()} == {*FILES, "flower.log", "report.html"}
    summary = json.loads((tmp_path / "stdout").read_text())
    assert (summary["status"], summary["folder"]) == ("complete", str(folder))
    assert adaptors(folder) == adaptors(undisturbed)
    assert (folder / "auroc.csv").read_bytes() == (undisturbed / "auroc.csv").read_bytes()


@pytest.mark.long
def test_ctrl_c_leaves_no_process_and_the_command_that_it_tells_goes_on(
    start, tiny, tmp_path, undisturbed
):
    run = start("fedretune", "run", *tiny.options(tmp_path, rounds=2))
    run.wait_for("experience 1/2  round 1/2")
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does: all in the foreground
    code, err = run.end()
    assert code == 130
    assert run.left_behind() == []
    assert f"Every finished round is saved in {tmp_path / 'it'}. Go on with:" in err
    words = shlex.split(err.partition("Go on with: fedretune run ")[2])
    assert words[-1] == "--resume"
    code, err = start("fedretune", "simulate", *words).end()
    assert code == 0, err
    assert "resumed after" in err
    assert adaptors(tmp_path / "it") == adaptors(undisturbed)


@pytest.mark.long
def test_killed_outright_it_leaves_no_process_and_the_run_goes_on_to_the_same_bytes(
    start, tiny, tmp_path, undisturbed
):
    options = tiny.options(tmp_path, rounds=2)
    run = start("fedretune", "run", *options)
    run.wait_for("experience 1/2  round 1/2")
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.end()[0] == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE
    while run.left_behind() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.left_behind() == []
    code, err = start("fedretune", "simulate", *options, "--resume").end()
    assert code == 0, err
    assert adaptors(tmp_path / "it") == adaptors(undisturbed)


@pytest.mark.long
def test_a_run_that_fails_inside_flower_ends_with_the_reason(start, tiny, tmp_path):
    own = tiny.copy(tmp_path)
    run = start("fedretune", "run", *own.options(tmp_path))
    run.wait_for("Starting Flower")
    own.manifest.unlink()
    code, err = run.end()
    assert code == 1
    assert "No site can take part" in err
    assert "Traceback" not in err
    assert f"Flower's log: {tmp_path / 'it' / 'flower.log'}" in err
    assert "There is no manifest" in (tmp_path / "it" / "flower.log").read_text()
    assert json.loads((tmp_path / "it" / "summary.json").read_text())["status"] == "failed"
    assert run.left_behind() == []


@pytest.fixture
def app_folder(tmp_path):
    """Return a clone of the project, as far as Flower looks at it."""
    folder = tmp_path / "clone"
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("clients", "server", "scenarios", "fedretune"):
        shutil.copytree(PROJECT / name, folder / name, ignore=unwanted)
    (folder / "tests").mkdir()
    for name in ("tests/__init__.py", "pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(PROJECT / name, folder / name)
    return folder


@pytest.mark.long
def test_a_bare_flwr_run_works_and_asks_nothing_of_the_internet(
    start, tiny, tmp_path, app_folder, free_port
):
    options = {
        "manifest": str(tiny.manifest),
        "backbone": f"local-dir:{tiny.backbone}",
        "out": str(tmp_path / "runs"),
        "name": "bare",
        "experiences": 2,
        "rounds": 1,
    }
    config = " ".join(f"{key}={json.dumps(value)}" for key, value in options.items())
    with way_out() as (environment, asked):
        bare = start(
            *("flwr", "run", app_folder, "--stream", "--run-config", config),
            FLWR_HOME=str(tmp_path / "flwr"),
            FLWR_LOCAL_SUPERLINK_HTTP_API_PORT=str(free_port),
            FLWR_DISABLE_UPDATE_CHECK="1",
            RAY_USAGE_STATS_ENABLED="0",
            UV_CACHE_DIR=str(tmp_path / "uv"),
            PATH=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
            **environment,
        )
        bare.end()
        log = (tmp_path / "stdout").read_text()
        assert (tmp_path / "runs" / "bare" / "summary.json").is_file(), log
    assert [request for request in asked if not any(host in request for host in NEARBY)] == []
    folder = tmp_path / "runs" / "bare"
    assert {path.name for path in folder.iterdir()} == FILES
    assert json.loads((folder / "summary.json").read_text())["status"] == "complete"
    end_superlink(bare)


def end_superlink(bare):
    """End the SuperLink that a bare `flwr run` leaves, and see that all below it end too."""
    assert bare.left_behind(), "a bare run is known to leave its SuperLink"
    for process in bare.left_behind():
        os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while bare.left_behind() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert bare.left_behind() == []
