"""Images are found under their root, and nothing outside it is."""

import os
from pathlib import Path

import pandas as pd
import pytest

from fedretune.data.readers.roots import Root
from fedretune.errors import UserError

OUTSIDE = "secret.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a root with images, beside a file that is none of its."""
    for name in ("root/a.png", "root/one/b.png", "root/one/deep/c.png", OUTSIDE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "root"


def locate(root: Path, *names: str, follow_links: bool = False) -> list[str | None]:
    where = "table.csv, line {}".format
    return Root(root, follow_links).locate(pd.Series(names, dtype=str), where)


def test_an_image_is_found_by_its_path_or_by_its_bare_name(root: Path) -> None:
    names = ["a.png", "one/b.png", "./one//b.png", "c.png", "one/c.png", "gone.png"]
    assert locate(root, *names) == [
        "a.png",
        "one/b.png",
        "one/b.png",
        "one/deep/c.png",
        None,
        None,
    ]


def test_a_bare_name_is_taken_from_the_root_itself_before_any_other_folder(root: Path) -> None:
    (root / "one" / "a.png").touch()
    assert locate(root, "a.png") == ["a.png"]


def test_a_bare_name_that_is_in_two_folders_is_an_error(root: Path) -> None:
    (root / "two").mkdir()
    (root / "two" / "c.png").touch()
    with pytest.raises(UserError, match=r"line 1: two images under .* have its name"):
        locate(root, "a.png", "c.png")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "one/../../secret.png",
        "one/..",
        "..\\secret.png",
        "/etc/hosts",
        "\\\\server\\share\\x.png",
        "C:\\x.png",
        "c:x.png",
        "a\0.png",
        "a\n.png",
        "",
    ],
)
def test_a_path_out_of_the_root_is_refused_with_its_line(root: Path, name: str) -> None:
    with pytest.raises(UserError, match="line 1: the image's path is") as caught:
        locate(root, "a.png", name, follow_links=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["link.png", "out/secret.png"])
def test_a_link_out_of_the_root_is_refused_unless_it_may_be_followed(root: Path, name: str) -> None:
    (root / "link.png").symlink_to(root.parent / OUTSIDE)
    (root / "out").symlink_to(root.parent)
    with pytest.raises(UserError, match=r"line 1: a link leads out .*--follow-links"):
        locate(root, "a.png", name)
    assert locate(root, "a.png", name, follow_links=True) == ["a.png", name]


def test_a_bare_name_is_not_looked_for_behind_links_unless_they_may_be_followed(root: Path) -> None:
    (root / "one" / "out").symlink_to(root.parent)
    assert locate(root, OUTSIDE) == [None]
    assert locate(root, OUTSIDE, follow_links=True) == [f"one/out/{OUTSIDE}"]


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    (root / "link.png").symlink_to("one/b.png")
    (root / "again").symlink_to("one")
    assert locate(root, "link.png", "again/b.png") == ["link.png", "again/b.png"]


def test_the_root_itself_may_be_a_link(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert locate(link, "one/b.png", "c.png") == ["one/b.png", "one/deep/c.png"]


def test_links_in_a_circle_end(root: Path) -> None:
    (root / "one" / "up").symlink_to(root)
    (root / "self").symlink_to("self")
    for follow in (False, True):
        found = locate(root, "c.png", "self", "self/x.png", "gone.png", follow_links=follow)
        assert found == ["one/deep/c.png", None, None, None]


def test_folders_pipes_and_broken_links_are_no_images(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    (root / "broken.png").symlink_to("nothing")
    assert locate(root, "one", "pipe.png", "broken.png") == [None, None, None]


def test_a_root_that_is_no_folder_is_an_error(root: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        Root(root / "a.png", follow_links=False)
