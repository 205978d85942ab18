"""A hospital's folder of DICOM files with its spreadsheet, by command line and in Python."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedretune.cli.manifest import app
from fedretune.data.images import open_image
from fedretune.data.patients import load_salt, pseudonym
from fedretune.data.readers.assemble import Made, Plan, make_manifest
from fedretune.errors import UserError
from fedretune.findings import NIH14
from tests.data.dicoms import ID, NAME
from tests.data.readers.dicom_trees import dicom, hospital


def made(plan: Plan, **options: object) -> Made:
    return make_manifest("dicom", replace(plan, options={**plan.options, **options}))


def bare(folder: Path) -> Plan:
    """A plan without a table of labels."""
    return Plan(folder, {}, folder.parent / "manifest.csv")


def test_radiographs_are_joined_to_their_labels(tmp_path: Path) -> None:
    manifest = made(hospital(tmp_path)).manifest
    assert manifest.findings == ("Erguss", "Stauung")
    assert len(manifest) == 20
    assert manifest.table["patient"].nunique() == 10
    frontal = manifest.table["view"] == "PA"
    assert manifest.table["Erguss"][frontal].eq(1).all()
    assert manifest.table["Erguss"][~frontal].eq(0).all()
    assert manifest.table["Stauung"].isna().all()
    assert all(open_image(path).mode == "L" for path in manifest.images)


def test_what_is_no_radiograph_is_counted_by_its_reason(tmp_path: Path) -> None:
    assert made(hospital(tmp_path)).dropped == {
        "not a DICOM file": 1,
        "a modality other than CR, DX, RG (see --any-modality)": 1,
        "a body part other than the chest (see --any-body-part)": 1,
        "it holds no pixel data, or was cut short before its end": 1,
        "raw data of a detector (FOR PROCESSING)": 1,
        "no PatientID in its header": 1,
        "the same image again (SOPInstanceUID)": 1,
        "in the table of labels, and no such image": 1,
    }


def test_other_modalities_and_body_parts_come_in_on_request(tmp_path: Path) -> None:
    plan = replace(hospital(tmp_path), files={})
    plan = replace(plan, options={"any-modality": True, "any-body-part": True})
    assert len(make_manifest("dicom", plan).manifest) == 22


@pytest.mark.parametrize(
    ("dates", "expected"), [("year", "2026"), ("month", "2026-01"), ("day", "2026-01-03")]
)
def test_dates_are_left_out_unless_asked_for(tmp_path: Path, dates: str, expected: str) -> None:
    plan = hospital(tmp_path)
    assert "date" not in made(plan).manifest.table
    table = made(plan, dates=dates).manifest.table
    assert table["date"][table["image"].str.contains("IM0002")].tolist() == [expected]


def test_patients_are_hashed_with_the_salt_beside_the_manifest(tmp_path: Path) -> None:
    plan = hospital(tmp_path)
    dicom(plan.images / "issued", "PID0", SOPInstanceUID="1.2.4", IssuerOfPatientID="North")
    table = made(replace(plan, files={}, options={})).manifest.table.set_index("image")["patient"]
    salt = load_salt(plan.out.parent)
    assert table["pacs/0/IM0000"] == pseudonym(salt, "PID0")
    assert table["pacs/issued"] not in table.drop("pacs/issued").to_numpy()


@pytest.mark.parametrize("key", ["SOPInstanceUID", "AccessionNumber", "PatientID", "path", "name"])
def test_each_key_joins(tmp_path: Path, key: str) -> None:
    tags = {"SOPInstanceUID": "1.2.3", "AccessionNumber": "A7"}
    dicom(tmp_path / "in" / "a" / "b.dcm", "P7", **tags)
    cell = {**tags, "PatientID": "P7", "path": "a\\b.dcm", "name": "b.dcm"}[key]
    table = tmp_path / "labels.csv"
    table.write_text(f"{key},split,Mass\n{cell},test,1\nother,train,0\n")
    plan = Plan(tmp_path / "in", {"labels": table}, tmp_path / "m.csv", {"labels-key": key})
    row = make_manifest("dicom", plan).manifest.table.iloc[0]
    assert (row["Mass"], row["split"]) == (1, "test")


def test_without_a_table_findings_are_there_and_not_labelled(tmp_path: Path) -> None:
    plan = hospital(tmp_path)
    assert made(bare(plan.images)).manifest.findings == NIH14
    named = made(bare(plan.images), finding=("Edema",)).manifest
    assert named.findings == ("Edema",)
    assert named.table["Edema"].isna().all()


def test_views_can_be_chosen(tmp_path: Path) -> None:
    result = made(hospital(tmp_path), views="frontal")
    assert set(result.manifest.table["view"]) == {"PA"}
    assert result.dropped["not a frontal view"] == 10


def test_images_without_a_line_are_left_out_and_counted(tmp_path: Path) -> None:
    plan = hospital(tmp_path)
    text = plan.files["labels"].read_text()
    plan.files["labels"].write_text("".join(text.splitlines(keepends=True)[:11]))
    result = made(plan)
    assert len(result.manifest) == 10
    assert result.dropped["no line in the table of labels"] == 10


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of what is written here
def test_no_name_or_id_reaches_a_manifest_or_a_word(tmp_path: Path) -> None:
    tags = {"AccessionNumber": ID, "StudyDescription": ID, "ViewPosition": ID, "StudyDate": ID}
    for number, broken in enumerate(({}, {"Rows": None}, {"BodyPartExamined": ID})):
        dicom(tmp_path / "in" / f"{number}.dcm", ID, SOPInstanceUID=f"1.{number}", **tags, **broken)
    raw = (tmp_path / "in" / "0.dcm").read_bytes()
    (tmp_path / "in" / "cut.dcm").write_bytes(raw[: raw.index(NAME.encode()) + 20])
    (tmp_path / "labels.csv").write_text(f"AccessionNumber,Mass\n{ID},1\n")
    out = tmp_path / "out" / "m.csv"
    command = ["dicom", str(tmp_path / "in"), "-o", str(out), "--dates", "day", "--json"]
    labels = ["--labels", str(tmp_path / "labels.csv"), "--labels-key", "AccessionNumber"]
    result = CliRunner().invoke(app, [*command, *labels])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 1
    for said in (result.stdout, result.stderr, out.read_text()):
        assert "CANARY" not in said


def test_paths_that_name_patients_are_refused_unless_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number, path in enumerate(("a/canary^name/1.dcm", f"{ID}.dcm", "fine/3.dcm")):
        dicom(folder / path, ID, SOPInstanceUID=f"1.{number}")
    with pytest.raises(UserError, match=r"^2 of 3 files .*--keep-paths") as caught:
        made(bare(folder))
    assert "canary" not in str(caught.value).lower()
    assert len(made(bare(folder), **{"keep-paths": True}).manifest) == 3


def test_a_short_id_counts_where_it_is_a_word(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    dicom(folder / "IM0123.dcm", "123", SOPInstanceUID="1.1", PatientName="Li^An")
    dicom(folder / "an.dcm", "123", SOPInstanceUID="1.2", PatientName="Li^An")
    assert len(made(bare(folder)).manifest) == 2
    dicom(folder / "123" / "a.dcm", "123", SOPInstanceUID="1.3")
    with pytest.raises(UserError, match="1 of 3 files"):
        made(bare(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Auftrag;Erguss\nA1;ja\nA1;nein\n", r"befunde\.csv, line 3: its Auftrag is on a line"),
        ("Auftrag;Erguss\nB1;ja\n", r"No line of .*befunde\.csv has the AccessionNumber"),
        ("Nummer;Erguss\nA1;ja\n", "lacks the column 'Auftrag'"),
        ("Auftrag;Erguss\nA1;Maier\n", r"line 2: 'Erguss' has a word that is no label"),
        ("Auftrag;Erguss\n;ja\n", r"line 2: 'Auftrag' is empty"),
        ("", "is empty"),
    ],
)
def test_a_wrong_table_of_labels_is_named(tmp_path: Path, text: str, message: str) -> None:
    plan = hospital(tmp_path)
    plan.files["labels"].write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        made(plan, ignore=())
    assert "Maier" not in str(caught.value)


def test_a_folder_without_radiographs_says_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(UserError, match=r"No radiograph .*\(no files\)"):
        made(bare(folder))
    (folder / "a.txt").write_text("text")
    dicom(folder / "b.dcm", "P1", Modality="MR")
    with pytest.raises(UserError, match=r"1 x not a DICOM file; 1 x a modality other"):
        made(bare(folder))


def test_paths_that_no_table_can_hold_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number, name in enumerate((b"R\xf6ntgen.dcm", b"a\nb.dcm", b"c.dcm")):
        dicom(folder / os.fsdecode(name), "P1", SOPInstanceUID=f"1.{number}")
    result = made(bare(folder))
    assert len(result.manifest) == 1
    assert result.dropped == {"a path with a control character, or not in UTF-8": 2}


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    outside = dicom(tmp_path / "outside" / "a.dcm", "P1")
    folder = tmp_path / "in"
    dicom(folder / "b.dcm", "P2", SOPInstanceUID="1.2")
    (folder / "a.dcm").symlink_to(outside)
    with pytest.raises(UserError, match="a link leads out"):
        made(bare(folder))
    plan = replace(bare(folder), follow_links=True)
    assert len(make_manifest("dicom", plan).manifest) == 2
