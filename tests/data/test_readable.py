"""Images that cannot be read: found by decoding, refused or left out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from fedretune.cli.manifest import app
from fedretune.data.manifest import Manifest, load_manifest
from fedretune.data.readable import check_readable, unreadable, write_without
from fedretune.errors import UserError
from tests.data.readers.dicom_trees import hospital
from tests.data.readers.test_every_reader import arguments


@pytest.fixture
def half_bad(tmp_path: Path) -> Manifest:
    """A manifest of two good images, an empty one and a truncated one."""
    for name in "abcd":
        Image.effect_noise((64, 64), 50).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "d.png").write_bytes((tmp_path / "d.png").read_bytes()[:1000])
    rows = [f"{name}.png,{name},{split},1\n" for name, split in zip("abcd", SPLITS, strict=True)]
    (tmp_path / "m.csv").write_text("image,patient,split,Mass\n" + "".join(rows))
    return load_manifest(tmp_path / "m.csv")


SPLITS = ("train", "train", "test", "test")


def check(*words: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, words)])


def test_each_bad_image_is_found_with_its_reason(half_bad: Manifest) -> None:
    seen = []
    bad = unreadable(half_bad, lambda done, total: seen.append((done, total)))
    assert list(bad) == [1, 3]
    assert "b.png (the file is empty)" in bad[1]
    assert "truncated" in bad[3]
    assert seen[-1] == (4, 4)


def test_the_first_bad_image_is_named_with_its_line_and_the_others_counted(
    half_bad: Manifest,
) -> None:
    with pytest.raises(UserError, match=r"m\.csv, line 3: .*b\.png.* 2 of 4 images cannot"):
        check_readable(half_bad)


def test_the_others_are_written_with_their_splits_wherever_the_manifest_goes(
    half_bad: Manifest, tmp_path: Path
) -> None:
    kept = write_without(half_bad, unreadable(half_bad), tmp_path / "elsewhere" / "good.csv")
    assert kept.table["image"].tolist() == ["../a.png", "../c.png"]
    assert kept.table["split"].tolist() == ["train", "test"]
    check_readable(kept)


def test_nothing_but_bad_images_is_an_error(half_bad: Manifest, tmp_path: Path) -> None:
    for image in half_bad.images:
        image.write_bytes(b"")
    with pytest.raises(UserError, match=r"No image of .*m\.csv can be read.*a\.png"):
        write_without(half_bad, unreadable(half_bad), tmp_path / "good.csv")


def test_the_check_command_decodes_on_request(half_bad: Manifest) -> None:
    assert check(half_bad.path).exit_code == 0
    assert "line 3" in str(check(half_bad.path, "--decode").exception)


def test_the_check_command_writes_what_can_be_read(half_bad: Manifest, tmp_path: Path) -> None:
    result = check(half_bad.path, "--skip-bad", "-o", tmp_path / "good.csv", "--json")
    assert json.loads(result.stdout)["dropped"] == {"cannot be read": 2}
    assert result.stderr.count("Left out") == 2
    assert len(load_manifest(tmp_path / "good.csv")) == 2
    assert len(load_manifest(half_bad.path)) == 4


@pytest.mark.parametrize("words", [["--skip-bad"], ["-o", "x.csv"]])
def test_skip_bad_and_out_go_together(half_bad: Manifest, words: list[str]) -> None:
    assert "go together" in str(check(half_bad.path, *words).exception)


def test_a_reader_leaves_bad_images_out_on_request(tmp_path: Path) -> None:
    plan = replace(hospital(tmp_path), options={}, files={})
    broken = plan.images / "0" / "IM0003"
    broken.write_bytes(broken.read_bytes()[:-2])
    words = [*arguments("dicom", plan), "--json"]
    without = json.loads(CliRunner().invoke(app, words).stdout)
    skipped = json.loads(CliRunner().invoke(app, [*words, "--skip-bad"]).stdout)
    assert (without["images"], skipped["images"]) == (20, 19)
    assert skipped["dropped"] == {**without["dropped"], "cannot be read": 1}
