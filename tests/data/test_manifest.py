"""Reading, checking and writing manifests."""

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.data.manifest import check_images, load_manifest, write_manifest
from fedretune.errors import UserError

HEADER = "image,patient,split,site,Mass,Pleural Thickening\n"
ROWS = "a.png,007,train,north,1,\nb.png,007,train,north,0,-1\nc.png,8,test,south,,0\n"


def write(tmp_path: Path, text: str, name: str = "manifest.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def fails(path: Path, *messages: str) -> None:
    with pytest.raises(UserError) as caught:
        load_manifest(path)
    for message in (str(path), *messages):
        assert message in str(caught.value)


def test_a_manifest_gives_findings_paths_and_lines(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, HEADER + ROWS))
    assert manifest.findings == ("Mass", "Pleural Thickening")
    assert manifest.images == [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"]
    assert manifest.lines.tolist() == [2, 3, 4]
    assert list(manifest.table.index) == [0, 1, 2]


def test_patient_ids_stay_text(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, HEADER + ROWS))
    assert manifest.table["patient"].tolist() == ["007", "007", "8"]


def test_lines_are_the_files_own_where_some_are_blank(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, HEADER + "\n" + ROWS.replace("c.png", "\n\nc.png")))
    assert manifest.lines.tolist() == [3, 4, 7]


def test_a_byte_order_mark_and_crlf_are_read(tmp_path: Path) -> None:
    text = "\ufeff" + (HEADER + ROWS).replace("\n", "\r\n")
    assert load_manifest(write(tmp_path, text)).findings == ("Mass", "Pleural Thickening")


@pytest.mark.parametrize(
    ("policy", "expected"), [("zeros", 0.0), ("ones", 1.0), ("ignore", np.nan)]
)
def test_uncertain_labels_follow_the_policy(tmp_path: Path, policy: str, expected: float) -> None:
    labels = load_manifest(write(tmp_path, HEADER + ROWS)).labels(policy)
    np.testing.assert_array_equal(labels, [[1, np.nan], [0, expected], [np.nan, 0]])
    assert labels.dtype == np.float32


def test_a_policy_may_differ_by_finding(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, HEADER + "a,1,train,x,-1,-1\n"))
    np.testing.assert_array_equal(manifest.labels({"Mass": "ones"}), [[1, 0]])
    np.testing.assert_array_equal(manifest.labels("zeros"), [[0, 0]])


def test_an_unknown_policy_or_finding_is_named(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, HEADER + ROWS))
    with pytest.raises(UserError, match=r"'maybe'.*ignore, ones, zeros"):
        manifest.labels("maybe")
    with pytest.raises(UserError, match=r"'mass'.*Did you mean 'Mass'"):
        manifest.labels({"mass": "ones"})


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["is empty"]),
        ("image;patient;split;Mass\na;1;train;0\n", ["lacks the column", "comma-separated"]),
        ("image,patient,Mass\na,1,0\n", ["lacks the column split"]),
        ("image,patient,split\na,1,train\n", ["no finding column"]),
        (HEADER, ["no rows"]),
        (HEADER + "a,1,train,x,0\n", ["line 2", "5 cells", "header has 6"]),
        (HEADER + "a,1,train,x,0,0\nb,1,tset,x,0,0\n", ["line 3", "'tset'", "train, val, test"]),
        (HEADER + "a,1,train,x,0,2\n", ["line 2", "'Pleural Thickening' is none of"]),
        (HEADER + "a,1,train,x,yes,\n", ["line 2", "'Mass' is none of"]),
        (HEADER + "a,,train,x,0,0\n", ["line 2", "'patient' is empty"]),
        (HEADER + "a,1,train,,0,0\n", ["line 2", "'site' is empty"]),
        (HEADER + "a,1,train,x,0,0\na,1,train,x,0,0\n", ["line 3", "line 2 already"]),
        (HEADER.replace("site", "Mass") + "a,1,train,x,0,0\n", ["'Mass' is there twice"]),
        ("image,patient,split,,Mass\na,1,train,,0\n", ["column 4 has no name"]),
        (HEADER + 'a,"1,train,x,0,0\n', ["line 2", "a quote that opens and does not close"]),
        (HEADER + "a,1,train,x,0,0\nb\0,1,train,x,0,0\n", ["line 3", "NUL"]),
        (HEADER + "a,1,train,x,0," + "0" * 200_000, ["line 2", "field larger"]),
    ],
)
def test_a_bad_manifest_is_named_with_line_and_mend(
    tmp_path: Path, text: str, messages: list[str]
) -> None:
    fails(write(tmp_path, text), *messages)


@pytest.mark.parametrize("column", ["split", "site"])
def test_a_patient_in_two_splits_or_sites_is_counted_and_not_named(
    tmp_path: Path, column: str
) -> None:
    rows = {"split": "train,north;test,north", "site": "train,north;train,south"}[column]
    one, two = rows.split(";")
    text = HEADER + "".join(
        f"{image},{patient},{where},0,0\n"
        for image, patient, where in [
            ("a", "secret-1", one),
            ("b", "secret-1", two),
            ("c", "secret-2", one),
            ("d", "secret-2", two),
            ("e", "3", one),
        ]
    )
    path = write(tmp_path, text)
    fails(path, f"2 patients are in more than one {column}", "line 3", f"the same {column}")
    with pytest.raises(UserError) as caught:
        load_manifest(path)
    assert "secret" not in str(caught.value)


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(b"image,patient,split,Mass\n\xff\xfe,1,train,0\n")
    fails(path, "line 2", "not UTF-8")


def test_a_missing_manifest_and_a_folder_are_errors(tmp_path: Path) -> None:
    fails(tmp_path / "gone.csv", "There is no manifest")
    fails(tmp_path, "There is no manifest")


def test_a_missing_image_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    manifest = load_manifest(write(tmp_path, HEADER + ROWS))
    with pytest.raises(UserError, match=r"manifest\.csv, line 3: .*b\.png \(2 of 3 images"):
        check_images(manifest)
    (tmp_path / "b.png").touch()
    (tmp_path / "c.png").touch()
    check_images(manifest)


LABELS = st.lists(
    st.tuples(*[st.sampled_from([1.0, 0.0, -1.0, np.nan])] * 2), min_size=1, max_size=20
)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@settings(max_examples=40)
@given(labels=LABELS)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, labels: list[tuple[float, float]]
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    table = pd.DataFrame(labels, columns=["Mass", "Pleural Thickening"])
    table.insert(0, "image", [f"x, {n}.png" for n in range(len(table))])
    table.insert(1, "patient", [f"{n:03}" for n in range(len(table))])
    table.insert(2, "split", "train")
    path = write_manifest(table, folder / f"manifest.{suffix}")
    manifest = load_manifest(path)
    np.testing.assert_array_equal(
        manifest.table[list(manifest.findings)], np.array(labels, dtype=np.float32)
    )
    assert manifest.table["image"].tolist() == table["image"].tolist()
    assert manifest.table["patient"].tolist() == table["patient"].tolist()
    assert [entry.name for entry in folder.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@settings(max_examples=40)
@given(flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
def test_flipped_bytes_give_a_manifest_or_a_message(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, flips: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    table = load_manifest(write(folder, HEADER + ROWS)).table
    path = write_manifest(table, folder / f"broken.{suffix}")
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[place % len(content)] = value
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        assert len(load_manifest(path)) > 0


def test_a_broken_parquet_file_is_named_without_its_cells(tmp_path: Path) -> None:
    table = load_manifest(write(tmp_path, HEADER + ROWS)).table
    path = write_manifest(table, tmp_path / "manifest.parquet")
    path.write_bytes(path.read_bytes().replace(b"a.png", b"a\xffpng"))
    fails(path, "no sound Parquet file")


def test_a_failed_write_leaves_the_old_manifest(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + ROWS)
    table = load_manifest(path).table.assign(Mass=0.5)  # no label: it cannot become a whole number
    with pytest.raises(TypeError):
        write_manifest(table, path)
    assert path.read_text() == HEADER + ROWS


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    table = load_manifest(write(tmp_path, HEADER + ROWS)).table
    with pytest.raises(UserError, match="Cannot write the manifest"):
        write_manifest(table, tmp_path / "file" / "manifest.csv")


def test_reading_a_manifest_needs_no_torch() -> None:
    code = "import sys, fedretune.data.manifest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
