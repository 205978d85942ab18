"""`fedretune study lora`: its table, its federation, how it is gone on with, what it refuses."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from typer.testing import CliRunner

from fedretune.cli.main import app
from fedretune.data.images import open_image
from fedretune.study.lora import quick
from tests.data.readers.trees import nih14
from tests.tuning.vits import write_mrm

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Give a folder with two small checkpoints, and one with 40 images laid out as NIH's."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "weights").mkdir()
    write_mrm(folder / "weights" / "MRM.pth", depth=2)
    write_mrm(folder / "weights" / "CXR_MAE.pth", depth=2)
    nih14(folder / "data" / "nih14")
    return SimpleNamespace(weights=folder / "weights", data=folder / "data")


def study_of(lab, out, **changes):
    """Return the words of a small study into the folder `out`, with some options changed."""
    options = {
        "weights": lab.weights,
        "data": lab.data,
        "models": "mrm",
        "data-sets": "nih14",
        "ratios": 100,
        "tunings": "lora,linear-probe",
        "epochs": 1,
        "out": out,
        **changes,
    }
    given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return ["study", "lora", "--jobs", "1", *(word for word in given if word != "None")]


@pytest.fixture(scope="module")
def made(lab, tmp_path_factory):
    """Make a small study; give its folder and what the command printed."""
    folder = tmp_path_factory.mktemp("made") / "study"
    result = CliRunner().invoke(app, [*study_of(lab, folder), "--json"])
    assert result.exit_code == 0, result.output
    return folder, result


@pytest.fixture
def study(made, out):
    """Give a copy of that study, at the place where the next one goes."""
    return Path(shutil.copytree(made[0], out / "study"))


def table(folder):
    """Return a study's rows, less what differs from one start to the next."""
    return pd.read_csv(folder / "table.csv").drop(columns=["wall_seconds", "peak_bytes"])


def test_a_study_leaves_a_table_and_a_folder_for_each_cell(made):
    folder, result = made
    rows = pd.read_csv(folder / "table.csv")
    assert rows["tuning"].tolist() == ["lora", "linear-probe"]
    assert rows["recipe"].tolist() == ["ours", "ours"]  # of other epochs than the study's
    lora = 2 * 2 * 2 * 64 * 32 + 2 * 64  # two blocks, q and v, A and B of rank 32; fc_norm
    head = 14 * 64 + 14
    assert rows["trained_parameters"].tolist() == [lora + head, head]
    assert rows["bytes"].tolist() == [4 * (lora + head), 4 * head]
    assert (rows["peak_bytes"] > 1e6).all()
    assert (rows["train_images"] == 28).all()
    for name, auroc in zip(rows["run"], rows["auroc"], strict=True):
        summary = json.loads((folder / "runs" / name / "summary.json").read_text())
        assert summary["auroc"] == pytest.approx(auroc)
        assert summary["images"] == {"train": 28, "val": 4, "test": 8}
        assert set(summary["undefined_findings"]) >= {"Nodule", "Fibrosis"}
        told = pd.read_csv(folder / "runs" / name / "epochs.csv")
        assert told["epoch"].tolist() == [1]
        assert told["loss"].tolist() == pytest.approx(summary["losses"], abs=1e-5)
    text = (folder / "table.md").read_text()
    assert "13 of 18" in text
    assert "| mrm | nih14 | 100% | 28 |" in text
    told = json.loads(result.stdout)
    assert [row["run"] for row in told["rows"]] == rows["run"].tolist()
    assert "2 runs, of which 0 are done." in result.stderr


@pytest.mark.long
def test_what_is_done_is_not_done_again_and_what_is_not_comes_out_the_same(
    study, fedretune, lab, out
):
    before = table(study)
    (study / "runs" / before["run"][0] / "summary.json").unlink()
    kept = study / "runs" / before["run"][1] / "summary.json"
    written = kept.stat().st_mtime_ns
    result = fedretune(*study_of(lab, out / "study"))
    assert result.code == 0, result.err
    assert "2 runs, of which 1 are done." in result.err
    assert kept.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(table(study), before, check_exact=True)


def test_another_config_is_refused_before_anything_runs(study, refused, lab, out):
    message = refused(*study_of(lab, out / "study", blocks=1))
    assert (
        "mrm.nih14.100.lora.seed-1 holds a run of another config: blocks was 0 and is 1" in message
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": "mae"}, "Unknown model of the LoRA study 'mae'"),
        ({"data-sets": "nih"}, "Unknown data set of the LoRA study 'nih'"),
        ({"tunings": "lora,qlora"}, "Unknown tuning 'qlora'"),
        ({"ratios": "1,20"}, "--ratios is '1,20'; the study has 1, 10 and 100 (per cent)."),
        ({"tunings": "full"}, "How the study tuned all of mrm on nih14 at 100% is not known"),
        ({"tunings": "full", "fft-lr": "mrm"}, "--fft-lr takes MODEL=RATE"),
        ({"augmentation": "some"}, "Unknown augmentation 'some'"),
        ({"device": "tpu"}, "Unknown device 'tpu'"),
        ({"weights": "/no/such"}, "There is no checkpoint /no/such/MRM.pth"),
        ({"weights": None}, "--weights and --data say where"),
        ({"data-sets": "chexpert"}, "There is no folder"),
        ({"data": "/"}, "There is no folder /nih14: NIH ChestX-ray14 is looked for there."),
        ({"sites": 3}, "sites: of use with --federated alone."),
    ],
)
def test_what_cannot_be_is_refused_with_the_mend(refused, lab, out, changes, words):
    arguments = study_of(lab, out / "study", **changes)
    if changes.get("weights", "") is None:
        arguments.remove("--weights")
    assert words in refused(*arguments)


def test_a_folder_of_another_layout_and_a_file_that_is_no_checkpoint_are_named(
    fedretune, lab, out, tmp_path
):
    (tmp_path / "data" / "rsna").mkdir(parents=True)
    (tmp_path / "data" / "rsna" / "train.zip").touch()
    result = fedretune(*study_of(lab, out, data=tmp_path / "data", **{"data-sets": "rsna"}))
    assert result.code == 2
    assert "lacks stage_2_train_labels.csv" in result.err
    assert "It has train.zip." in result.err
    (tmp_path / "MRM.pth").write_bytes(b"no weights")
    result = fedretune(*study_of(lab, out, weights=tmp_path))
    assert result.code == 2
    assert "Cannot read the weights" in result.err


def test_quick_takes_no_weights_of_one_s_own(refused, lab):
    assert "--quick brings models" in refused("study", "lora", "--quick", "--data", str(lab.data))


@pytest.mark.long
def test_a_federation_has_a_row_a_cell_and_the_bytes_of_a_round(fedretune, lab, out):
    words = study_of(lab, out / "study", epochs=0, tunings="lora,full,linear-probe,bitfit")
    words += ["--fft-lr", "mrm=0.01", "--federated", "--sites", "2", "--experiences", "2"]
    result = fedretune(*words, "--rounds", "1")
    assert result.code == 0, result.err
    rows = pd.read_csv(out / "study" / "table.csv").set_index("tuning")
    assert rows.index.tolist() == ["lora", "full", "linear-probe", "bitfit"]
    assert (rows["bytes"] >= 4 * rows["trained_parameters"]).all()
    assert rows["bytes"].idxmax() == "full"
    assert rows["auroc"].between(0, 1).all()
    config = (out / "study" / "runs" / rows["run"]["lora"] / "config.toml").read_text()
    assert 'adaptor.rank" = 32' in config
    assert "forgetting" in (out / "study" / "table.md").read_text()
    assert "--set adaptor.kind" in fedretune(*words, "--set", "adaptor.kind=mlp").err


@pytest.mark.long
def test_quick_makes_the_whole_table_s_shape(fedretune, out, monkeypatch):
    for name, value in (("PATIENTS", 40), ("PRETRAINING", 20), ("STEPS", 2), ("EPOCHS", 1)):
        monkeypatch.setattr(quick, name, value)
    result = fedretune("study", "lora", "--quick", "--out", out / "study")
    assert result.code == 0, result.err
    rows = pd.read_csv(out / "study" / "table.csv")
    assert len(rows) == 2 * 3 * 3 * 4
    assert set(rows["recipe"]) == {"ours"}
    assert rows.groupby(["model", "data", "ratio"]).size().eq(4).all()
    assert "of 18 tasks" in (out / "study" / "table.md").read_text()


@pytest.mark.acceptance
@pytest.mark.long
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not beside the project")
def test_real_radiographs_go_through(fedretune, out, tmp_path, monkeypatch):
    monkeypatch.setattr(quick, "STEPS", 20)
    quick.write_stand_ins(tmp_path / "weights")
    folder = tmp_path / "data" / "nih14"
    (folder / "images").mkdir(parents=True)
    shutil.copy(SHARED / "nih1000_labels.csv", folder / "Data_Entry_2017.csv")
    for path in (SHARED / "nih1000_256").glob("*.png"):
        shutil.copy(path, folder / "images")
    lab = SimpleNamespace(weights=tmp_path / "weights", data=tmp_path / "data")
    result = fedretune(*study_of(lab, out / "study", ratios=10, epochs=2))
    assert result.code == 0, result.err
    rows = pd.read_csv(out / "study" / "table.csv")
    assert rows["train_images"].tolist() == [70, 70]
    assert rows["auroc"].between(0.3, 1).all()
    manifest = pd.read_csv(out / "study" / "manifests" / "nih14-10.csv")
    assert open_image(out / "study" / "manifests" / manifest["image"][0]).mode == "L"
