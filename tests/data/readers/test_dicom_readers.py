"""RSNA and VinDr-CXR, read from their official files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedretune.data.images import open_image
from fedretune.data.readers.assemble import Plan, make_manifest
from fedretune.data.readers.vindr import FINDINGS
from fedretune.errors import UserError
from tests.data.readers.dicom_trees import rsna, vindr


def without(plan: Plan, *keys: str) -> Plan:
    return replace(plan, files={key: path for key, path in plan.files.items() if key not in keys})


def edited(plan: Plan, key: str, old: str, new: str) -> Plan:
    text = plan.files[key].read_text()
    assert old in text
    plan.files[key].write_text(text.replace(old, new, 1))
    return plan


@pytest.mark.parametrize(("name", "tree"), [("rsna", rsna), ("vindr", vindr)])
def test_each_image_is_found_and_opens(
    name: str, tree: Callable[[Path], Plan], tmp_path: Path
) -> None:
    manifest = make_manifest(name, tree(tmp_path)).manifest
    assert len(manifest) == 12
    assert {open_image(path).size for path in manifest.images} == {(2, 2)}


def test_rsna_has_one_row_an_image_whatever_its_boxes(tmp_path: Path) -> None:
    manifest = make_manifest("rsna", rsna(tmp_path)).manifest
    assert manifest.findings == ("Pneumonia", "Abnormal")
    table = manifest.table.sort_values("image")
    assert table["Pneumonia"].tolist() == [1, 0, 0] * 4
    assert table["Abnormal"].tolist() == [1, 1, 0] * 4


def test_rsna_with_mappings_has_nihs_patients_each_in_one_split(tmp_path: Path) -> None:
    plan = rsna(tmp_path)
    table = make_manifest("rsna", plan).manifest.table
    assert sorted(table["patient"].unique()) == [f"{number:08}" for number in range(1, 7)]
    alone = make_manifest("rsna", without(plan, "mappings", "classes")).manifest
    assert alone.table["patient"].nunique() == 12
    assert alone.findings == ("Pneumonia",)


def test_rsnas_test_labels_are_the_test_set(tmp_path: Path) -> None:
    plan = rsna(tmp_path)
    header, *rows = plan.files["labels"].read_text().splitlines(keepends=True)
    plan.files["labels"].write_text("".join([header, *rows[:-4]]))
    test = tmp_path / "stage_2_test_labels.csv"
    test.write_text("".join([header, *rows[-4:]]))
    plan = replace(plan, files={**plan.files, "test-labels": test}, shares=(50, 50, 0))
    made = make_manifest("rsna", plan)
    splits = made.manifest.table.groupby("split")["patient"].unique().map(len).to_dict()
    assert splits == {"train": 2, "val": 2, "test": 2}
    # The first of the four rows is a second box; its image's patient has another one.
    assert made.dropped == {"its patient is in the test set": 1}
    assert (made.manifest.table["split"] == "test").sum() == 3


@pytest.mark.parametrize(
    ("key", "old", "new", "message"),
    [
        ("labels", "379.0,1", "379.0,0", r"labels\.csv, line 3: 'Target' is another than"),
        ("labels", ",,,,,0", ",,,,,-1", r"labels\.csv, line 4: 'Target' is neither 0 nor 1"),
        ("labels", "Target", "Ziel", "lacks the column 'Target'"),
        ("classes", "Not Normal", "Odd", r"class_info\.csv, line 4: 'class' is none of Normal"),
        ("mappings", '"subset_img_id"', '"image"', "not RSNA's list of mappings"),
        ("mappings", "[", "", "not RSNA's list of mappings"),
        ("mappings", "00000000-92c3", "ffffffff-92c3", r"labels\.csv, line 2: .* not in"),
    ],
)
def test_a_wrong_file_of_rsna_is_named(
    tmp_path: Path, key: str, old: str, new: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_manifest("rsna", edited(rsna(tmp_path), key, old, new))


def test_vindr_takes_what_most_radiologists_saw(tmp_path: Path) -> None:
    plan = edited(vindr(tmp_path), "train", "R9,1,0", "R9,0,1")
    manifest = make_manifest("vindr", plan).manifest
    assert manifest.findings == FINDINGS
    table = manifest.table.sort_values("patient")[list(FINDINGS)]
    assert table.iloc[0].sum() == 0  # one vote each for two findings
    assert table.iloc[1].idxmax() == "Atelectasis"
    assert (table.iloc[1:].sum(axis=1) == 1).all()


def test_vindr_calls_a_tie_uncertain(tmp_path: Path) -> None:
    plan = vindr(tmp_path)
    header, first, *rows = plan.files["train"].read_text().splitlines(keepends=True)
    plan.files["train"].write_text("".join([header, *rows]))
    table = make_manifest("vindr", plan).manifest.table.sort_values("patient")
    assert table["Aortic enlargement"].iloc[0] == -1
    assert first.split(",")[2] == "1"


def test_vindrs_consensus_is_the_test_set(tmp_path: Path) -> None:
    plan = vindr(tmp_path)
    table = make_manifest("vindr", plan).manifest.table
    assert set(table["image"][table["split"] == "test"].str.split("/").str[0]) == {"test"}
    assert table["split"].value_counts()["test"] == 4
    assert (table["split"] == "val").sum() == 1


@pytest.mark.parametrize(
    ("key", "old", "new", "message"),
    [
        ("train", ",1,", ",2,", r"train\.csv, line 2: the finding .* is none of 1"),
        ("train", ",1,", ",-1,", r"train\.csv, line 2: a finding is neither 0 nor 1"),
        ("train", "Other diseases", "Others", "lacks the column 'Other diseases'"),
        ("test", "0" * 31 + "9", "0" * 31 + "8", r"test\.csv, line 3: its image is on a line"),
    ],
)
def test_a_wrong_file_of_vindr_is_named(
    tmp_path: Path, key: str, old: str, new: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_manifest("vindr", edited(vindr(tmp_path), key, old, new))
