"""From a reading to a manifest: images found, patients split and dealt to sites."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from fedretune.cli.manifest import app
from fedretune.data.manifest import check_images, load_manifest
from fedretune.data.readers.assemble import Made, Plan, make_manifest
from fedretune.errors import UserError
from tests.data.readers.trees import edit, nih14, nih14_official


def make(plan: Plan, **values: Any) -> Made:
    return make_manifest("nih14", replace(plan, **values))


def test_images_are_found_at_any_depth_and_named_relative_to_the_manifest(tmp_path: Path) -> None:
    made = make(nih14(tmp_path))
    assert (made.dropped, made.unmapped) == ({}, {})
    assert made.manifest.table["image"][0] == "../images/images_001/images/00000001_000.png"
    check_images(made.manifest)


def test_a_manifest_moved_along_with_its_images_still_finds_them(tmp_path: Path) -> None:
    make(nih14(tmp_path / "one"))
    (tmp_path / "one").rename(tmp_path / "two")
    check_images(load_manifest(tmp_path / "two" / "out" / "manifest.csv"))


def test_splits_hold_the_shares_of_patients_and_each_patient_once(tmp_path: Path) -> None:
    table = make(nih14(tmp_path)).manifest.table
    by_patient = table.groupby("patient")["split"].agg(["first", "nunique"])
    assert by_patient["nunique"].max() == 1
    assert by_patient["first"].value_counts().to_dict() == {"train": 14, "val": 2, "test": 4}


def test_splits_hang_on_the_seed_and_not_on_the_order_of_rows(tmp_path: Path) -> None:
    plan = nih14(tmp_path)
    first = make(plan).manifest.table.set_index("image")["split"]
    header, *lines = plan.files["labels"].read_text().splitlines(keepends=True)
    plan.files["labels"].write_text(header + "".join(reversed(lines)))
    again = make(plan).manifest.table.set_index("image")["split"]
    pd.testing.assert_series_equal(first, again.loc[first.index])
    other = make(plan, seed=1).manifest.table.set_index("image")["split"]
    assert (other.loc[first.index] != first).any()


def test_each_site_has_patients_of_each_split(tmp_path: Path) -> None:
    table = make(nih14(tmp_path), sites=2).manifest.table
    pairs = table.groupby(["site", "split"])["patient"].nunique()
    assert pairs.to_dict() == {
        **{("site-1", split): n for split, n in (("train", 7), ("val", 1), ("test", 2))},
        **{("site-2", split): n for split, n in (("train", 7), ("val", 1), ("test", 2))},
    }


def test_sites_of_the_data_set_and_dealt_ones_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    table = tmp_path / "table.csv"
    table.write_text("image,patient,site,Mass\na.png,1,north,1\n")
    with pytest.raises(UserError, match="has sites of its own"):
        make_manifest("csv", Plan(tmp_path, {"table": table}, tmp_path / "m.csv", sites=2))


def test_a_missing_image_is_an_error_or_is_counted(tmp_path: Path) -> None:
    plan = nih14(tmp_path)
    next(plan.images.rglob("00000002_000.png")).unlink()
    with pytest.raises(UserError, match=r"2017\.csv, line 4: .*1 of 40 images are missing"):
        make(plan)
    assert not plan.out.exists()
    made = make(plan, skip_missing=True)
    assert (len(made.manifest), made.dropped) == (39, {"no such image file": 1})


def test_a_wrong_folder_of_images_is_said_once(tmp_path: Path) -> None:
    plan = nih14(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="None of the 40 images"):
        make(plan, images=tmp_path / "empty", skip_missing=True)
    with pytest.raises(UserError, match="There is no folder"):
        make(plan, images=tmp_path / "gone")


def test_an_image_listed_twice_is_an_error_with_both_lines(tmp_path: Path) -> None:
    plan = nih14(tmp_path)
    edit(plan.files["labels"], "00000002_001.png", "00000002_000.png")
    with pytest.raises(UserError, match=r"line 5: the same image is at .*line 4 already"):
        make(plan)
    assert not plan.out.exists()


def test_one_image_under_two_names_is_listed_twice_too(tmp_path: Path) -> None:
    plan = nih14(tmp_path)
    edit(plan.files["labels"], "00000001_001.png", "images_001/./images/00000001_000.png")
    with pytest.raises(UserError, match=r"line 3: the same image is at .*line 2 already"):
        make(plan)


def test_a_patient_in_two_official_splits_is_counted_and_not_named(tmp_path: Path) -> None:
    plan = nih14_official(tmp_path)
    edit(plan.files["labels"], ",20,58", ",4711,58")
    edit(plan.files["labels"], ",1,58", ",4711,58")
    with pytest.raises(UserError, match=r"1 patient is in more than one split") as caught:
        make(plan)
    assert "4711" not in str(caught.value)


def test_an_open_row_without_a_share_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gives no share to train, val"):
        make(nih14_official(tmp_path), shares=(0, 0, 1))


def test_an_open_row_beside_all_three_splits_is_an_error(tmp_path: Path) -> None:
    rows = [f"{n}.png,{n},{split},1\n" for n, split in enumerate(["train", "val", "test", ""])]
    for n in range(4):
        (tmp_path / f"{n}.png").touch()
    table = tmp_path / "table.csv"
    table.write_text("image,patient,split,Mass\n" + "".join(rows))
    with pytest.raises(UserError, match="line 5: no split, and 1 such"):
        make_manifest("csv", Plan(tmp_path, {"table": table}, tmp_path / "m.csv"))


def test_the_labels_are_never_overwritten(tmp_path: Path) -> None:
    plan = nih14(tmp_path, patients=1)
    with pytest.raises(UserError, match=r"overwrite .*\(--labels\)"):
        make(plan, out=tmp_path / "images" / ".." / plan.files["labels"].name)


@pytest.mark.parametrize("key", ["files", "options"])
def test_a_file_or_option_that_the_reader_does_not_know_is_an_error(
    tmp_path: Path, key: str
) -> None:
    plan = nih14(tmp_path)
    with pytest.raises(UserError, match="'label'"):
        make(plan, **{key: {**getattr(plan, key), "label": plan.out.parent}})


@pytest.mark.parametrize("split", ["70/30", "a/b/c", "0/50/50", "-1/1/1", "70/10/20/0", "inf/1/1"])
def test_bad_shares_are_an_error(tmp_path: Path, split: str) -> None:
    plan = nih14(tmp_path, patients=1)
    arguments = ["nih14", "--labels", str(plan.files["labels"]), "--images", str(plan.images)]
    result = CliRunner().invoke(app, [*arguments, "-o", str(plan.out), "--split", split])
    assert isinstance(result.exception, UserError)
    assert "70/10/20" in str(result.exception)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    plan = nih14(tmp_path, patients=1)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write the manifest"):
        make(plan, out=tmp_path / "file" / "manifest.csv")
