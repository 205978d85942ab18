"""From NIH's official files to a manifest, and the command that does it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from fedretune.cli.manifest import app
from fedretune.data.manifest import check_images, load_manifest
from fedretune.data.readers import READERS, Request
from fedretune.data.readers.assemble import Made, Plan, make_manifest
from fedretune.data.readers.nih14 import READER
from fedretune.data.summary import summarise
from fedretune.errors import UserError
from fedretune.findings import NIH14

#: As in the official file: a comma inside brackets, and one at the end of each line.
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
FINDINGS = ["No Finding", "Mass|Pleural_Thickening", "Hernia", "Infiltration|Effusion|Edema"]


def write_tree(folder: Path, patients: int = 20) -> Plan:
    """Write NIH's layout: images_001/images/*.png, two images a patient, and the table."""
    lines = []
    for number in range(2 * patients):
        name = f"{number // 2 + 1:08}_{number % 2:03}.png"
        path = folder / "images" / f"images_{number % 3 + 1:03}" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(path)
        labels = FINDINGS[number % len(FINDINGS)]
        lines.append(f"{name},{labels},{number % 2},{number // 2 + 1},58,M,PA,2682,2749,0.1,0.1,\n")
    (folder / "labels.csv").write_text(HEADER + "".join(lines))
    files = {"labels": folder / "labels.csv"}
    return Plan(folder / "images", files, folder / "out" / "manifest.csv")


def make(plan: Plan, **values: Any) -> Made:
    return make_manifest("nih14", replace(plan, **values))


def read_labels(labels: Path) -> pd.DataFrame:
    return READER.read(Request(labels.parent, {"labels": labels}, {}, labels.parent)).table


def test_official_columns_become_labels(tmp_path: Path) -> None:
    table = read_labels(write_tree(tmp_path).files["labels"])
    assert tuple(table.columns) == ("image", "patient", "view", *NIH14)
    assert table["patient"].iloc[:3].tolist() == ["1", "1", "2"]
    assert table[list(NIH14)].iloc[0].sum() == 0
    positive = [name for name in NIH14 if table[name].iloc[1] == 1]
    assert positive == ["Mass", "Pleural Thickening"]


@given(st.sets(st.sampled_from(NIH14)))
def test_any_combination_of_findings_is_read(
    tmp_path_factory: pytest.TempPathFactory, findings: set[str]
) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    cell = "|".join(name.replace(" ", "_") for name in findings) or "No Finding"
    path.write_text(f"Image Index,Finding Labels,Patient ID\na.png,{cell},1\n")
    row = read_labels(path).iloc[0]
    assert {name for name in NIH14 if row[name] == 1} == findings


def test_a_manifest_finds_images_at_any_depth_and_loads(tmp_path: Path) -> None:
    made = make(write_tree(tmp_path))
    manifest = made.manifest
    assert (made.dropped, made.unmapped) == ({}, {})
    assert manifest.findings == NIH14
    check_images(manifest)
    assert not Path(manifest.table["image"][0]).is_absolute()


def test_a_manifest_moved_along_with_its_images_still_finds_them(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    make(write_tree(tmp_path / "one"))
    (tmp_path / "one").rename(tmp_path / "two")
    check_images(load_manifest(tmp_path / "two" / "out" / "manifest.csv"))


def test_splits_hold_the_shares_of_patients_and_each_patient_once(tmp_path: Path) -> None:
    manifest = make(write_tree(tmp_path)).manifest
    by_patient = manifest.table.groupby("patient")["split"].agg(["first", "nunique"])
    assert by_patient["nunique"].max() == 1
    assert by_patient["first"].value_counts().to_dict() == {"train": 14, "val": 2, "test": 4}


def test_splits_hang_on_the_seed_and_not_on_the_order_of_rows(tmp_path: Path) -> None:
    plan = write_tree(tmp_path)
    first = make(plan).manifest.table.set_index("image")["split"]
    header, *lines = plan.files["labels"].read_text().splitlines(keepends=True)
    plan.files["labels"].write_text(header + "".join(reversed(lines)))
    again = make(plan).manifest.table.set_index("image")["split"]
    pd.testing.assert_series_equal(first, again.loc[first.index])
    other = make(plan, seed=1).manifest.table.set_index("image")["split"]
    assert (other.loc[first.index] != first).any()


def test_each_site_has_patients_of_each_split(tmp_path: Path) -> None:
    manifest = make(write_tree(tmp_path), sites=2).manifest
    pairs = manifest.table.groupby(["site", "split"])["patient"].nunique()
    assert pairs.to_dict() == {
        **{("site-1", split): n for split, n in (("train", 7), ("val", 1), ("test", 2))},
        **{("site-2", split): n for split, n in (("train", 7), ("val", 1), ("test", 2))},
    }


def test_a_missing_image_is_an_error_or_is_counted(tmp_path: Path) -> None:
    plan = write_tree(tmp_path)
    next(plan.images.rglob("00000002_000.png")).unlink()
    with pytest.raises(UserError, match=r"labels\.csv, line 4: .*1 of 40 images are missing"):
        make(plan)
    made = make(plan, skip_missing=True)
    assert (len(made.manifest), made.dropped) == (39, {"no such image file": 1})


def test_a_wrong_folder_of_images_is_said_once(tmp_path: Path) -> None:
    plan = write_tree(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="None of the 40 images"):
        make(plan, images=tmp_path / "empty", skip_missing=True)
    with pytest.raises(UserError, match="There is no folder"):
        make(plan, images=tmp_path / "gone")


def test_two_images_of_one_name_are_an_error(tmp_path: Path) -> None:
    plan = write_tree(tmp_path)
    image = next(plan.images.rglob("00000002_000.png"))
    (plan.images / "images_001" / "images" / image.name).write_bytes(image.read_bytes())
    with pytest.raises(UserError, match="two images have its name"):
        make(plan)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Hernia", "Hernya", "line 4: 'Hernya' is no finding"),
        ("Hernia", "Hernia|No Finding", "line 4: 'No Finding' is no finding"),
        ("Patient ID", "Patient", "lacks the column 'Patient ID'"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    plan = write_tree(tmp_path)
    plan.files["labels"].write_text(plan.files["labels"].read_text().replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        read_labels(plan.files["labels"])
    assert str(plan.files["labels"]) in str(caught.value)


def test_findings_without_positives_or_labels_are_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("image,patient,split,Mass,Edema,Hernia\na,1,train,0,,1\nb,2,test,-1,,0\n")
    summary = summarise(load_manifest(path))
    assert summary.warnings() == [
        "No image has the split 'val'.",
        "Mass: no positive image; its AUROC is undefined.",
        "Edema: no image is labelled.",
    ]
    assert summary.findings[0].uncertain == 1
    assert summary.findings[2].prevalence == 0.5
    assert np.isnan(summary.findings[1].prevalence)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_has_a_command(reader: str) -> None:
    result = CliRunner().invoke(app, [reader, "--help"])
    assert result.exit_code == 0
    assert "--labels" in result.stdout


def test_the_command_writes_a_manifest_and_prints_json_alone_to_stdout(tmp_path: Path) -> None:
    plan = write_tree(tmp_path)
    arguments = ["nih14", "--labels", str(plan.files["labels"]), "--images", str(plan.images)]
    arguments += ["-o", str(plan.out), "--sites", "2", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert (printed["images"], printed["patients"]) == (40, 20)
    assert sum(printed["sites"].values()) == 40
    assert len(load_manifest(plan.out)) == 40


@pytest.mark.parametrize("split", ["70/30", "a/b/c", "0/50/50", "-1/1/1", "70/10/20/0", "inf/1/1"])
def test_bad_shares_are_an_error(tmp_path: Path, split: str) -> None:
    plan = write_tree(tmp_path)
    arguments = ["nih14", "--labels", str(plan.files["labels"]), "--images", str(plan.images)]
    result = CliRunner().invoke(app, [*arguments, "-o", str(plan.out), "--split", split])
    assert isinstance(result.exception, UserError)
    assert "70/10/20" in str(result.exception)


def test_the_check_command_counts_a_good_manifest_and_names_a_missing_image(
    tmp_path: Path,
) -> None:
    manifest = make(write_tree(tmp_path)).manifest
    good = CliRunner().invoke(app, ["check", str(manifest.path), "--json"])
    assert json.loads(good.stdout)["images"] == 40
    manifest.images[0].unlink()
    bad = CliRunner().invoke(app, ["check", str(manifest.path)])
    assert "line 2" in str(bad.exception)
