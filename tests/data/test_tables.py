"""Tables of text: what is read, and the message for each way a file can be broken."""

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.data import tables
from fedretune.data.tables import decode, parse_rows, read_bytes, read_lines, read_rows
from fedretune.errors import UserError

HEADER = "image,patient\n"


def fails(path: Path, content: bytes, *messages: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_rows(path, ("image", "patient"))
    for message in (str(path), *messages):
        assert message in str(caught.value)


def test_columns_come_in_the_order_asked_for_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffx,patient,image\r\n1, 007 ,a.png\r\n\r\n2,"8","b\r\nc.png"\r\n3,,d\r\n')
    rows = read_rows(path, ("image", "patient"), ("x", "not there"))
    assert rows.columns.tolist() == ["image", "patient", "x"]
    assert rows.to_numpy().tolist() == [
        ["a.png", "007", "1"],
        ["b\r\nc.png", "8", "2"],
        ["d", "", "3"],
    ]
    assert rows.index.tolist() == [(str(path), 2), (str(path), 4), (str(path), 6)]


def test_a_gzipped_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"image,patient\na,1\n"))
    assert len(read_rows(path, ("image", "patient"))) == 1


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        (b"", ["is empty"]),
        (b" \n\n", ["is empty"]),
        (b"image,patient\n", ["no rows"]),
        (b"image,patient\n\n\n", ["no rows"]),
        (b"image;patient\na;1\n", ["lacks the column 'image'", "separated by a semicolon"]),
        (b"image\tpatient\na\t1\n", ["separated by a tab"]),
        (b"picture,patient\na,1\n", ["lacks the column 'image'", "first line has 2 cells"]),
        (b"image,patient,image\na,1,b\n", ["'image' is there twice"]),
        (b"image,patient\na,1\nb\n", ["line 3", "1 cells, but the header has 2"]),
        (b"image,patient\na,1,x\n", ["line 2", "3 cells"]),
        (b'image,patient\n"a,1\nb,2\n', ["line 2", "quote that opens and does not close"]),
        (b'image,patient\na,1\n"b"x,2\n', ["line 3", "quote"]),
        (b"image,patient\na,1\nb\0,2\n", ["line 3", "NUL"]),
        (b"image,patient\na,1\n\nb\xe9,2\n", ["line 4", "not UTF-8"]),
        (b"image,patient\na," + b"1" * 200_000, ["line 2", "field larger than field limit"]),
        ("image,patient\na,1\n".encode("utf-16"), ["UTF-16", "save it as CSV UTF-8"]),
    ],
)
def test_a_broken_table_is_named_with_its_line(
    tmp_path: Path, content: bytes, messages: list[str]
) -> None:
    fails(tmp_path / "a.csv", content, *messages)


def test_the_first_line_is_not_quoted_for_it_may_be_a_patients(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x.png,Erika Mustermann\n")
    with pytest.raises(UserError) as caught:
        read_rows(path, ("image", "patient"))
    assert "Erika" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"image\na\n", mtime=0)[:-9], b"\x1f\x8b"],
    ids=["none", "cut", "begun"],
)
def test_a_broken_gzip_file_is_named(tmp_path: Path, content: bytes) -> None:
    fails(tmp_path / "a.csv.gz", content, "Cannot read")


def test_a_file_that_unpacks_to_more_than_any_table_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_BYTES", 2**20)
    fails(tmp_path / "a.csv.gz", gzip.compress(b"a" * (2**20 + 1)), "more than 1 MiB")


def test_a_folder_in_place_of_a_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read"):
        read_bytes(tmp_path)


def test_latin_1_is_told_from_utf_8_and_a_mixture_is_an_error(tmp_path: Path) -> None:
    text = "Köln;Erguß"
    for encoding in ("utf-8", "utf-8-sig", "latin-1"):
        assert decode(tmp_path, text.encode(encoding), "auto") == text
    assert decode(tmp_path, text.encode("utf-8"), "latin-1") == "KÃ¶ln;ErguÃ\x9f"
    mixed = "Köln\n".encode() + "Köln".encode("latin-1")
    with pytest.raises(UserError, match="line 2: a character is not UTF-8, while others"):
        decode(tmp_path, mixed, "auto")
    with pytest.raises(UserError, match="line 1: a character is not UTF-8"):
        decode(tmp_path, text.encode("latin-1"), "utf-8")


@given(st.text(alphabet="aÄÃ¤\xa0é,", max_size=12))
def test_what_is_decoded_is_utf_8_or_latin_1(text: str) -> None:
    content = text.encode("latin-1")
    try:
        decoded = decode(Path("x"), content, "auto")
    except UserError:
        with pytest.raises(UnicodeDecodeError):
            content.decode()
    else:
        assert content in (decoded.encode(), decoded.encode("latin-1", "ignore"))


@given(
    st.lists(st.tuples(*[st.text(alphabet='ab",\n ;é', max_size=6)] * 2), min_size=1, max_size=8)
)
def test_what_the_csv_module_writes_is_read_again(rows: list[tuple[str, str]]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([("image", "patient"), *rows])
    read = parse_rows(Path("x"), file.getvalue(), ",", ("image", "patient"))
    assert read.to_numpy().tolist() == [[cell.strip() for cell in row] for row in rows]


def test_a_list_of_names_is_read_whatever_its_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"a.png\r\nb.png\n\nc.png")
    assert read_lines(path) == {"a.png", "b.png", "c.png"}
