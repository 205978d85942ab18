"""NIH ChestX-ray14: its labels, and its official lists."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.data.readers.assemble import Plan, make_manifest
from fedretune.errors import UserError
from fedretune.findings import NIH14
from tests.data.readers.trees import NIH_HEADER, edit, nih14, nih14_official, reading, text


def test_official_columns_become_labels(tmp_path: Path) -> None:
    table = reading("nih14", nih14(tmp_path)).table
    assert tuple(table.columns) == ("image", "patient", "view", *NIH14)
    assert table["patient"].iloc[:3].tolist() == ["1", "1", "2"]
    assert table[list(NIH14)].iloc[0].sum() == 0
    positive = [name for name in NIH14 if table[name].iloc[1] == 1]
    assert positive == ["Mass", "Pleural Thickening"]


@settings(max_examples=40)
@given(st.sets(st.sampled_from(NIH14)))
def test_any_combination_of_findings_is_read(
    tmp_path_factory: pytest.TempPathFactory, findings: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    cell = "|".join(name.replace(" ", "_") for name in findings) or "No Finding"
    labels = text(folder / "labels.csv", NIH_HEADER, [f"a.png,{cell},0,1,58,M,PA,1,1,0.1,0.1,"])
    row = reading("nih14", Plan(folder, {"labels": labels}, folder / "m.csv")).table.iloc[0]
    assert {name for name in NIH14 if row[name] == 1} == findings


def test_the_official_test_list_is_the_test_set_and_the_rest_is_cut_by_patients(
    tmp_path: Path,
) -> None:
    table = make_manifest("nih14", nih14_official(tmp_path)).manifest.table
    patients = table.groupby("split")["patient"].unique()
    assert sorted(map(int, patients["test"])) == [16, 17, 18, 19, 20]
    assert {split: len(names) for split, names in patients.items()} == {
        "test": 5,
        "train": 13,  # 70 and 10 parts of 15 patients
        "val": 2,
    }


def test_an_image_in_neither_list_is_dropped_and_counted(tmp_path: Path) -> None:
    plan = nih14_official(tmp_path)
    edit(plan.files["test-list"], "00000020_001.png", "another.png")
    found = reading("nih14", plan)
    assert (len(found.table), found.dropped) == (39, {"in neither official list": 1})


def test_lists_that_overlap_or_know_no_image_or_come_alone_are_errors(tmp_path: Path) -> None:
    plan = nih14_official(tmp_path)
    lists = [plan.files["train-val-list"], plan.files["test-list"]]
    alone = Plan(plan.images, {key: plan.files[key] for key in ("labels", "test-list")}, plan.out)
    with pytest.raises(UserError, match="go together"):
        reading("nih14", alone)
    lists[0].write_text("00000020_001.png\n")
    with pytest.raises(UserError, match=r"test_list\.txt: 1 images are in .*train_val_list\.txt"):
        reading("nih14", plan)
    for path in lists:
        path.write_text(f"of-{path.stem}.png\n")
    with pytest.raises(UserError, match="name none of the images"):
        reading("nih14", plan)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Hernia", "Hernya", "line 4: 'Hernya' is no finding"),
        ("Hernia", "Hernia|No Finding", "line 4: 'No Finding' is no finding"),
        ("Hernia", "", "line 4: '' is no finding"),
        ("Patient ID", "Patient", "lacks the column 'Patient ID'"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    plan = nih14(tmp_path)
    edit(plan.files["labels"], old, new)
    with pytest.raises(UserError, match=message) as caught:
        reading("nih14", plan)
    assert str(plan.files["labels"]) in str(caught.value)
