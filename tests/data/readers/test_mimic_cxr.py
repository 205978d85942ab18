"""MIMIC-CXR-JPG: three tables joined, official splits, paths from ids."""

from pathlib import Path

import numpy as np
import pytest

from fedretune.data.readers.assemble import make_manifest
from fedretune.errors import UserError
from fedretune.findings import CHEXPERT13
from tests.data.readers.trees import MIMIC_FINDINGS, edit, mimic_cxr, reading

FIRST = "02aa804e-bde0afdd-112c0b34-7bc16630-10000032P"


def test_the_findings_are_the_official_columns_without_no_finding() -> None:
    assert set(CHEXPERT13) == set(MIMIC_FINDINGS.split(",")) - {"No Finding"}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_the_three_tables_are_joined(tmp_path: Path, suffix: str) -> None:
    table = make_manifest("mimic-cxr", mimic_cxr(tmp_path, suffix)).manifest.table
    first, third = table.iloc[0], table.iloc[2]
    assert first["image"] == f"files/p10/p10000032/s50414267/{FIRST}.jpg"
    assert (first["patient"], first["view"], first["date"]) == ("10000032", "PA", "2180-05-06")
    assert first["Edema"] == 0  # its study has 'No Finding'
    assert (third["Cardiomegaly"], third["Edema"], third["Pleural Effusion"]) == (1, -1, 0)
    assert np.isnan(third["Pneumonia"])


def test_all_images_of_a_study_get_its_labels(tmp_path: Path) -> None:
    table = reading("mimic-cxr", mimic_cxr(tmp_path)).table
    labels = table.groupby("patient")[list(CHEXPERT13)].nunique(dropna=False)
    assert len(table) == 2 * len(labels)
    assert (labels == 1).all(axis=None)


def test_the_official_split_is_kept(tmp_path: Path) -> None:
    table = reading("mimic-cxr", mimic_cxr(tmp_path)).table
    assert table["split"].value_counts().to_dict() == {"train": 8, "val": 2, "test": 2}


def test_images_without_split_or_labels_are_dropped_and_counted(tmp_path: Path) -> None:
    plan = mimic_cxr(tmp_path)
    edit(plan.files["split-list"], FIRST, "another")
    edit(plan.files["labels"], "10000039,", "99999999,")
    found = reading("mimic-cxr", plan)
    assert found.dropped == {"not in the split list": 1, "no labels for its study": 2}
    assert len(found.table) == 9


def test_lateral_views_are_left_out_on_demand(tmp_path: Path) -> None:
    found = reading("mimic-cxr", mimic_cxr(tmp_path), views="frontal")
    assert set(found.table["view"]) == {"PA"}
    assert found.dropped == {"not a frontal view": 6}


@pytest.mark.parametrize(
    ("key", "old", "new", "message"),
    [
        ("split-list", "validate", "dev", r"split\.csv\.gz, line 10: 'split' is not one of"),
        (
            "split-list",
            "P,50414267",
            "L,50414267",
            "line 3: the same subject_id, study_id, dicom_id",
        ),
        (
            "labels",
            "10000039,50414268",
            "10000032,50414267",
            "line 3: the same subject_id, study_id",
        ),
        ("labels", "-1.0", "maybe", "line 3: the finding 'Edema' is none of"),
        ("metadata", "ViewPosition", "View", "lacks the column 'ViewPosition'"),
        ("metadata", "10000032", "../..", "the image's path is empty, absolute, goes up"),
        ("labels", ",5041", ",6041", "No image of .* is in both"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, key: str, old: str, new: str, message: str) -> None:
    plan = mimic_cxr(tmp_path)
    edit(plan.files[key], old, new)
    if new == "../..":
        edit(plan.files["split-list"], old, new)
        edit(plan.files["labels"], old, new)
    with pytest.raises(UserError, match=message):
        make_manifest("mimic-cxr", plan)
