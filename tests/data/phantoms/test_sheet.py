"""The sheet and the command."""

import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fedretune.cli.phantoms import command
from fedretune.data.phantoms.sheet import COLUMNS, sheet
from fedretune.errors import UserError
from fedretune.findings import NIH14

app = typer.Typer()
app.command("phantoms")(command)


def test_the_sheet_has_a_row_a_finding_and_a_column_a_severity(tmp_path: Path) -> None:
    with Image.open(sheet(tmp_path / "s.png")) as page:
        wide, tall = page.size
        normal = page.crop((wide - len(COLUMNS) * 262, 60, wide - 3 * 262 - 10, 290))
    assert wide > len(COLUMNS) * 256
    assert tall > len(NIH14) * 256
    assert normal.getextrema()[1] > 100


def test_a_sheet_with_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot write the sheet"):
        sheet(tmp_path / "s.nothing")


def test_the_command_writes_a_folder_and_prints_the_manifest(tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = ["--patients", "3", "--sites", "1", "--size", "32"]
    result = CliRunner().invoke(app, [str(out), *few])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert str(out / "manifest.csv") in result.stderr.replace("\n", "")


def test_the_command_tells_machines_both_files(tmp_path: Path) -> None:
    asked = [str(tmp_path / "p"), "--sheet", str(tmp_path / "s.png"), "--patients", "1"]
    result = CliRunner().invoke(app, [*asked, "--sites", "1", "--size", "32", "--json"])
    told = json.loads(result.stdout)
    assert told == {"sheet": asked[2], "manifest": str(tmp_path / "p" / "manifest.csv")}
    assert all(Path(each).is_file() for each in told.values())


def test_a_command_with_nothing_to_do_says_so() -> None:
    assert isinstance(CliRunner().invoke(app, []).exception, UserError)
