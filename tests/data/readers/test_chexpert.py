"""CheXpert: paths under any root, views, blanks and uncertain labels, official splits."""

from pathlib import Path

import numpy as np
import pytest

from fedretune.data.readers.assemble import Plan, make_manifest
from fedretune.errors import UserError
from fedretune.findings import CHEXPERT13
from tests.data.readers.trees import CHEXPERT_HEADER, chexpert, chexpert_test, edit, reading


def test_the_findings_are_the_official_columns_without_no_finding() -> None:
    official = CHEXPERT_HEADER.strip().split(",")[6:]
    assert list(CHEXPERT13) == official


@pytest.mark.parametrize("before", ["CheXpert-v1.0/", "a/b c/", ""])
def test_paths_are_read_from_train_or_valid_on_whatever_is_before(
    tmp_path: Path, before: str
) -> None:
    plan = chexpert(tmp_path)
    for path in plan.files.values():
        edit(path, "CheXpert-v1.0-small/", before)
    table = make_manifest("chexpert", plan).manifest.table
    assert table["image"][0] == "moved/train/patient00001/study1/view1_frontal.jpg"
    assert table["patient"][0] == "patient00001"


def test_blank_is_not_labelled_and_uncertain_stays_and_no_finding_means_none(
    tmp_path: Path,
) -> None:
    table = reading("chexpert", chexpert(tmp_path)).table.set_index("patient")
    sick = table.loc["patient00001"].iloc[0]
    assert (sick["Cardiomegaly"], sick["Edema"]) == (1, -1)
    assert np.isnan(sick["Pneumonia"])
    normal = table.loc["patient00002"].iloc[0]
    assert normal["Support Devices"] == 1
    assert (normal[[name for name in CHEXPERT13 if name != "Support Devices"]] == 0).all()


def test_blank_may_count_as_negative(tmp_path: Path) -> None:
    table = reading("chexpert", chexpert(tmp_path), blank="negative").table
    assert table[list(CHEXPERT13)].notna().all(axis=None)
    assert (table[list(CHEXPERT13)] == -1).any(axis=None)


@pytest.mark.parametrize(
    ("views", "kept", "other"), [("frontal", "AP", 12), ("lateral", "lateral", 12)]
)
def test_views_are_chosen_and_the_others_counted(
    tmp_path: Path, views: str, kept: str, other: int
) -> None:
    found = reading("chexpert", chexpert(tmp_path), views=views)
    assert set(found.table["view"]) == {kept}
    assert found.dropped == {f"not a {views} view": other}


def test_the_view_is_the_paths_where_ap_pa_says_something_else(tmp_path: Path) -> None:
    plan = chexpert(tmp_path)
    edit(plan.files["train"], "Frontal,AP", "Frontal,LL")
    assert set(reading("chexpert", plan, views="frontal").table["view"]) == {"AP", "frontal"}


def test_the_official_validation_set_is_val_and_the_rest_is_cut_by_patients(
    tmp_path: Path,
) -> None:
    table = make_manifest("chexpert", chexpert(tmp_path)).manifest.table
    assert set(table["patient"][table["split"] == "val"]) == {"patient64541", "patient64542"}
    counts = table.groupby("split")["patient"].nunique().to_dict()
    assert counts == {"train": 8, "val": 2, "test": 2}  # 70 and 20 parts of 10 patients


def test_with_a_test_list_all_splits_are_official(tmp_path: Path) -> None:
    table = make_manifest("chexpert", chexpert_test(tmp_path)).manifest.table
    assert table.groupby("split")["patient"].nunique().to_dict() == {
        "train": 10,
        "val": 2,
        "test": 3,
    }
    assert set(table["view"][table["split"] == "test"]) == {"frontal"}


def test_train_alone_is_cut_into_three(tmp_path: Path) -> None:
    plan = chexpert(tmp_path)
    alone = Plan(plan.images, {"train": plan.files["train"]}, plan.out)
    table = make_manifest("chexpert", alone).manifest.table
    assert table.groupby("split")["patient"].nunique().to_dict() == {
        "train": 7,
        "val": 1,
        "test": 2,
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("study1/view2_lateral.jpg", "view2.jpg", "line 3: 'Path' is not like"),
        ("68,Frontal", "68,Frontal,", "line 2: 20 cells"),
        (",1.0,,-1.0,-1.0", ",2.0,,-1.0,-1.0", "line 2: the finding 'Lung Opacity' is none of 1"),
        ("Edema", "Oedema", "lacks the column 'Edema'"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    plan = chexpert(tmp_path)
    edit(plan.files["train"], old, new)
    with pytest.raises(UserError, match=rf"train\.csv.*{message}"):
        reading("chexpert", plan)
