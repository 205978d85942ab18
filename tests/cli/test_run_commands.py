"""What `fedretune simulate` prints and leaves, and how a run is gone on with."""

import json
import shutil
import subprocess
import sys

import pytest

import server.folder
from fedretune.cli.stopping import Stopped
from tests.backbones.tiny import write_folder
from tests.run_folders import FILES, adaptors


def test_json_is_one_object_on_stdout_and_the_text_for_people_is_on_stderr(fedretune, tiny, out):
    result = fedretune("simulate", *tiny.options(out), "--json")
    summary = json.loads(result.out)
    assert result.out.count("\n") == 1
    assert summary["status"] == "complete"
    assert summary["folder"] == str(out / "it")
    saved = json.loads((out / "it" / "summary.json").read_text())
    assert summary == {**saved, "folder": str(out / "it")}
    assert "experience 2/2 round 1/1 sites 2/2 " in result.err
    assert f"Run folder: {out / 'it'}" in result.err


def test_without_json_stdout_is_empty(fedretune, tiny, out):
    assert fedretune("simulate", *tiny.options(out)).out == ""


def test_an_option_and_the_same_key_by_set_give_the_same_bytes(fedretune, tiny, out):
    assert fedretune("simulate", *tiny.options(out, name="a", seed=3)).code == 0
    assert fedretune("simulate", *tiny.options(out, name="b"), "--set", "seed=3").code == 0
    assert fedretune("simulate", *tiny.options(out, name="c", seed=4)).code == 0
    assert adaptors(out / "a") == adaptors(out / "b") != adaptors(out / "c")


def test_a_run_without_a_name_gets_one(fedretune, tiny, out):
    result = fedretune("simulate", *tiny.options(out, name=""), "--json")
    (folder,) = out.iterdir()
    assert json.loads(result.out)["folder"] == str(folder)


def test_a_site_that_joins_late_is_listed_and_no_error(fedretune, tiny, out):
    late = ["--set", "schedule=late-join", "--set", "join-at=2"]
    result = fedretune("simulate", *tiny.options(out), *late)
    assert result.code == 0, result.err
    assert "sits out (no images in this experience)" in result.err
    assert "no-images" in (out / "it" / "sites.csv").read_text()


def test_a_finished_run_is_not_resumed(fedretune, refused, tiny, out):
    fedretune("simulate", *tiny.options(out))
    message = refused("simulate", *tiny.options(out), "--resume")
    assert f"The run {out / 'it'} is finished: start a new one under another name" in message


@pytest.fixture
def stopped(fedretune, tiny, out, monkeypatch):
    """Stop a run, as Ctrl-C does, before its fifth step: after the first experience."""
    checkpoint = server.folder.RunFolder.checkpoint

    def stopping(self, number, arrays):
        if number == 5:
            raise Stopped(2)
        checkpoint(self, number, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(server.folder.RunFolder, "checkpoint", stopping)
        return fedretune("simulate", *tiny.options(out), "--set", "train.lr=0.01")


def test_a_stopped_run_says_what_is_saved_and_the_command_that_goes_on(
    stopped, fedretune, tiny, out
):
    assert stopped.code == 130
    assert f"Every finished round is saved in {out / 'it'}. Go on with:" in stopped.err
    words = stopped.err.partition("Go on with: fedretune ")[2].split()
    result = fedretune(*words)
    assert result.code == 0, result.err
    assert "resumed after 1 of 2 rounds" in result.err
    assert result.err.count("experience 1/2 round 1/1") == 0
    fedretune("simulate", *tiny.options(out, name="whole"), "--set", "train.lr=0.01")
    assert adaptors(out / "it") == adaptors(out / "whole")


def test_resuming_with_another_config_names_the_key_before_an_engine_starts(
    stopped, in_place, refused, tiny, out
):
    for engine in ("simulate", "run"):
        message = refused(engine, *tiny.options(out), "--resume")
        assert "train.lr was 0.01 and is 0.0005" in message


def test_a_run_without_enough_sound_sites_ends_with_the_reason_and_exit_code_1(
    fedretune, tiny, out, monkeypatch
):
    monkeypatch.setattr("clients.site.train", lambda *_: 1 / 0)
    result = fedretune("simulate", *tiny.options(out))
    assert result.code == 1
    assert "Only 0 of 2 sites gave a sound answer" in result.err
    assert "--name it --resume" in result.err


def test_evaluating_a_run_again_gives_its_figures(fedretune, tiny, out):
    fedretune("simulate", *tiny.options(out))
    result = fedretune("evaluate", out / "it", "--json")
    for figures in json.loads(result.out).values():
        assert figures["run"] == pytest.approx(figures["exact"], abs=0.01)
    assert "not a run folder" in fedretune("evaluate", out).err


@pytest.mark.parametrize("method", ["local", "central", "zero-shot", "linear-probe", "joint"])
def test_whatever_a_method_ends_with_is_evaluated_again(fedretune, tiny, out, method):
    fedretune("simulate", *tiny.options(out, method=method))
    result = fedretune("evaluate", out / "it", "--json")
    figures = json.loads(result.out)["difference"]
    assert figures["run"] == pytest.approx(figures["exact"], abs=0.01)


def test_what_sites_remembered_is_gone_when_a_run_is_finished(fedretune, tiny, out):
    result = fedretune("simulate", *tiny.options(out, method="lwf"))
    assert result.code == 0, result.err
    assert {path.name for path in (out / "it").iterdir()} == {*FILES, "report.html"}


def test_evaluating_an_unfinished_run_says_so(refused, stopped, out):
    assert "adaptors.safetensors" in refused("evaluate", out / "it")


def test_evaluating_with_another_backbone_is_refused(fedretune, refused, tiny, out, tmp_path):
    own = tiny.copy(tmp_path)
    fedretune("simulate", *own.options(out))
    shutil.rmtree(own.backbone)
    write_folder(own.backbone, seed=5)
    assert "is not the one that" in refused("evaluate", out / "it")


def test_help_is_told_without_importing_torch_or_numpy():
    code = (
        "import sys; sys.argv = ['fedretune', 'run', '--help']\n"
        "from fedretune.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print({'torch', 'open_clip', 'flwr', 'pandas', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert "--resume" in done.stdout


def test_without_a_manifest_phantoms_are_drawn_once_and_it_is_said(
    fedretune, tiny, out, tmp_path, monkeypatch
):
    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("fedretune.data.phantoms.files.DEFAULT_PATIENTS", 60)
    options = tiny.options(out, manifest="phantoms", experiences=1)
    result = fedretune("simulate", *options)
    assert result.code == 0, result.err
    assert "Drawing phantoms, once:" in result.err
    assert "Encoding images, once:" in result.err
    again = fedretune("simulate", *options, "--name", "again")
    assert "once:" not in again.err
    assert adaptors(out / "it") == adaptors(out / "again")


def test_a_tracker_that_is_none_is_refused_before_anything_else(refused, tiny, out):
    options = tiny.options(out)
    assert "Allowed: mlflow, tensorboard" in refused("simulate", *options, "--track", "wandb")


def test_a_run_is_told_to_tensorboard_where_that_is_asked_for(fedretune, tiny, out):
    pytest.importorskip("tensorboard")
    result = fedretune("simulate", *tiny.options(out), "--track", "tensorboard")
    assert result.code == 0, result.err
    assert "told no more" not in result.err
    assert list((out / "it" / "tensorboard").glob("events.*"))
