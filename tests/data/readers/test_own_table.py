"""A table of one's own: columns, words, separators, encodings, and patients who are not named."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.data.patients import load_salt, pseudonym
from fedretune.data.readers import Reading, Value
from fedretune.data.readers.assemble import Plan, make_manifest
from fedretune.errors import UserError
from tests.data.readers.trees import own_table, reading

HEADER = "image,patient,Mass,Edema\n"


def plan_of(folder: Path, content: str | bytes, **options: Value) -> Plan:
    table = folder / "table.csv"
    table.write_bytes(content.encode() if isinstance(content, str) else content)
    given = {key.replace("_", "-"): value for key, value in options.items()}
    return Plan(folder, {"table": table}, folder / "manifest.csv", given)


def read(folder: Path, content: str | bytes, **options: Value) -> Reading:
    return reading("csv", plan_of(folder, content, **options))


def test_a_hospitals_table_is_read_with_its_own_words(tmp_path: Path) -> None:
    table = reading("csv", own_table(tmp_path)).table
    assert table.columns.tolist() == ["image", "patient", "site", "Erguß", "Stauung"]
    assert table["image"].iloc[1] == "1/b1.png"
    assert set(table["site"]) == {"Köln"}
    np.testing.assert_array_equal(
        table[["Erguß", "Stauung"]].iloc[:3], [[1, 0], [0, -1], [np.nan, 0]]
    )


def test_the_manifests_own_names_need_no_option(tmp_path: Path) -> None:
    head = "image,patient,split,site,view,date,Mass\n"
    table = read(tmp_path, head + "a,1,Training,N,PA,2020-01-01,1\nb,2,,N,AP,,0\n").table
    assert table.columns.tolist() == ["image", "patient", "split", "site", "view", "date", "Mass"]
    assert table["split"].tolist() == ["train", ""]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separator_and_encoding_are_detected(
    tmp_path: Path, separator: str, encoding: str, end: str
) -> None:
    rows = [["image", "patient", "Ödem, links"], ["ä.png", "1", "1"]]
    lines = [separator.join(f'"{cell}"' for cell in row) for row in rows]
    table = read(tmp_path, (end.join(lines) + end).encode(encoding)).table
    assert table.columns.tolist() == ["image", "patient", "Ödem, links"]
    assert table["image"].tolist() == ["ä.png"]


def test_a_given_separator_or_encoding_is_taken_at_its_word(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="separated by a comma"):
        read(tmp_path, HEADER + "a,1,0,0\n", separator="semicolon")
    with pytest.raises(UserError, match="line 2: a character is not UTF-8"):
        read(tmp_path, (HEADER + "ä,1,0,0\n").encode("latin-1"), encoding="utf-8")
    with pytest.raises(UserError, match=r"Unknown value of --encoding 'utf8'.*Did you mean"):
        make_manifest("csv", plan_of(tmp_path, HEADER, encoding="utf8"))


def test_mixed_encodings_are_an_error_with_the_line(tmp_path: Path) -> None:
    content = HEADER.encode() + "ä,1,0,0\n".encode() + "ö,2,0,0\n".encode("latin-1")
    with pytest.raises(UserError, match="line 3: a character is not UTF-8, while others"):
        read(tmp_path, content)


def test_words_are_told_apart_by_case_no_more_than_people_do(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER + "a,1,JA, nein \n", positive=("ja",), negative=("Nein",)).table
    assert table[["Mass", "Edema"]].to_numpy().tolist() == [[1, 0]]


def test_an_empty_cell_may_mean_negative(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER + "a,1,1,\n", negative=("",)).table
    assert table["Edema"].tolist() == [0]


def test_a_word_may_mean_that_nobody_looked(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER + "a,1,1,n/a\n", unlabelled=("N/A",)).table
    assert np.isnan(table["Edema"].iloc[0])


def test_a_word_with_two_meanings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--uncertain: 'ja' means positive already"):
        read(tmp_path, HEADER + "a,1,1,0\n", positive=("ja",), uncertain=("ja",))


def test_findings_are_the_other_columns_or_those_named(tmp_path: Path) -> None:
    content = HEADER.replace("Edema", "Note") + "a,1,1,text\n"
    assert "Note" not in read(tmp_path, content, finding=("Mass",)).table
    assert "Note" not in read(tmp_path, content, ignore=("Note",)).table
    with pytest.raises(UserError, match="line 2: 'Note' has a word that is no label"):
        read(tmp_path, content)
    with pytest.raises(UserError, match=r"--ignore: .* has no column 'note'"):
        read(tmp_path, content, ignore=("note",))
    with pytest.raises(UserError, match="lacks the column 'mass'"):
        read(tmp_path, content, finding=("mass",))
    with pytest.raises(UserError, match="--finding: 'site' is the name of another column"):
        read(tmp_path, content, finding=("site",))


def test_a_table_without_a_finding_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(UserError, match="no finding column"):
        make_manifest("csv", plan_of(tmp_path, "image,patient\na,1\n"))


def test_an_unknown_split_is_named_by_line_and_column(tmp_path: Path) -> None:
    content = "image,patient,Teil,Mass\na,1,train,0\nb,2,x,0\n"
    with pytest.raises(UserError, match="line 3: 'Teil' is no split"):
        read(tmp_path, content, split_column="Teil")


def test_patients_become_salted_hashes_that_the_salt_gives_again(tmp_path: Path) -> None:
    content = HEADER + "a,Müller,0,0\nb,Müller,0,0\nc,Maier,0,0\n"
    patients = read(tmp_path, content).table["patient"].tolist()
    assert patients == [
        pseudonym(load_salt(tmp_path), name) for name in ("Müller", "Müller", "Maier")
    ]
    assert read(tmp_path, content).table["patient"].tolist() == patients
    (tmp_path / "other").mkdir()
    other = replace(plan_of(tmp_path, content), out=tmp_path / "other" / "manifest.csv")
    assert reading("csv", other).table["patient"].iloc[0] != patients[0]


def test_patients_keep_their_ids_on_demand(tmp_path: Path) -> None:
    content = HEADER + "a,0042,0,0\n"
    table = read(tmp_path, content, keep_patient_ids=True).table
    assert table["patient"].tolist() == ["0042"]
    assert not (tmp_path / ".fedretune-salt").exists()


def test_a_path_with_the_patients_id_in_it_is_refused_unless_it_may_be_kept(
    tmp_path: Path,
) -> None:
    content = HEADER + "a.png,471108,0,0\nx/p471108-1.png,471108,0,0\n"
    with pytest.raises(
        UserError, match=r"line 3: .* so have 1 of 2 images.*--keep-paths"
    ) as caught:
        read(tmp_path, content)
    assert "471108" not in str(caught.value)
    for kept in ({"keep_paths": True}, {"keep_patient_ids": True}):
        assert len(read(tmp_path, content, **kept).table) == 2


BROKEN = [
    "a,CANARY,0,0\na,CANARY,0,0\n",
    "a,CANARY,0,0\n../x,CANARY,0,0\n",
    "a,CANARY,0,CANARY\n",
    "CANARY/1.png,CANARY,0,0\nCANARY/1.png,CANARY,0,0\n",
    "a,CANARY,0,0\nCANARY/gone.png,CANARY,0,0\n",
    "a,CANARY,0\n",
    'a,"CANARY,0,0\n',
    "CANARY\x01,CANARY,0,0\n",
    ",CANARY,0,0\n",
]


@pytest.mark.parametrize("rows", BROKEN)
@pytest.mark.parametrize("keep", [True, False])
def test_no_message_names_a_patient(tmp_path: Path, rows: str, keep: bool) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "CANARY").mkdir()
    (tmp_path / "CANARY" / "1.png").touch()
    with pytest.raises(UserError, match=r"line [23]") as caught:
        make_manifest("csv", plan_of(tmp_path, HEADER + rows, keep_patient_ids=keep))
    assert "CANARY" not in str(caught.value)


def test_a_table_without_a_header_names_no_patient(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks the column 'image'") as caught:
        read(tmp_path, "a,CANARY,0,0\n")
    assert "CANARY" not in str(caught.value)


def test_a_patient_in_two_splits_is_counted_and_not_named(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    content = "image,patient,split,Mass\na,CANARY,train,0\nb,CANARY,test,0\n"
    with pytest.raises(UserError, match=r"1 patient is in more than one split .*line 3") as caught:
        make_manifest("csv", plan_of(tmp_path, content, keep_patient_ids=True))
    assert "CANARY" not in str(caught.value)


@given(st.dictionaries(st.text(max_size=4).map(str.strip), st.sampled_from(["1", "0", "-1", ""])))
def test_labels_survive_whatever_the_patients_are_called(
    tmp_path_factory: pytest.TempPathFactory, labels: dict[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    rows = [(f"{n}.png", name, label) for n, (name, label) in enumerate(labels.items())]
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "patient", "Mass"), *rows])
    try:
        table = read(folder, (folder / "table.csv").read_bytes()).table
    except UserError:
        assert not labels or "" in labels or any("\0" in name for name in labels)
        return
    expected = [float(label or "nan") for label in labels.values()]
    np.testing.assert_array_equal(table["Mass"], expected)
    assert table["patient"].nunique() == len(labels)
