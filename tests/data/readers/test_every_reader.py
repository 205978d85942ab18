"""What every reader does: its command, its manifest, and never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fedretune.cli.manifest import app
from fedretune.data.manifest import check_images, load_manifest
from fedretune.data.readers import READERS, TITLES, Reader
from fedretune.data.readers.assemble import Plan, make_manifest
from fedretune.errors import UserError
from tests.data.readers.trees import TREES

#: One tree of each reader, that which has most files.
BROKEN = {reader: name for name, (reader, _) in TREES.items()}.values()

#: What a cell may turn into.
NASTY = (
    '"',
    '""x',
    "\0",
    "a\nb",
    "../../secret.png",
    "/etc/hosts",
    "C:\\Windows\\x.png",
    "-2",
    "é",
    ";",
    "\t",
    "[",
    "['a', b]",
    "1e400",
    "nan",
    "",
    "x" * 200_000,
)


def arguments(reader: str, plan: Plan) -> list[str]:
    """Return the command line of a plan."""
    given: Reader = READERS[reader]
    words = [reader, "-o", str(plan.out)]
    root = given.images.option
    words += [root, str(plan.images)] if root.startswith("-") else [str(plan.images)]
    for key, path in plan.files.items():
        words += [f"--{key}", str(path)]
    for key, value in plan.options.items():
        if value is True:
            words.append(f"--{key}")
        for each in value if isinstance(value, tuple) else () if value is True else (value,):
            words += [f"--{key}", str(each)]
    return words


def test_every_reader_has_a_tree() -> None:
    assert {reader for reader, _ in TREES.values()} == set(READERS)


@pytest.mark.parametrize("tree", TREES)
def test_the_command_makes_a_sound_manifest_and_prints_json_alone_to_stdout(
    tmp_path: Path, tree: str
) -> None:
    reader, make = TREES[tree]
    plan = make(tmp_path)
    result = CliRunner().invoke(app, [*arguments(reader, plan), "--json"])
    assert result.exit_code == 0, result.exception
    printed = json.loads(result.stdout)
    manifest = load_manifest(plan.out)
    check_images(manifest)
    assert printed["images"] == len(manifest) > 0
    assert printed["patients"] == manifest.table["patient"].nunique()
    again = make_manifest(reader, plan)
    assert (again.dropped, again.unmapped) == (printed["dropped"], printed["unmapped"])
    pd.testing.assert_frame_equal(again.manifest.table, manifest.table)


@pytest.mark.parametrize("reader", READERS)
def test_the_help_of_a_reader_names_each_file_it_wants(reader: str) -> None:
    result = CliRunner().invoke(app, [reader, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    wanted = READERS[reader]
    for entry in (*wanted.files, wanted.images, *wanted.options):
        assert entry.option in result.stdout
    assert f"fedretune manifest {reader}" in result.stdout


def test_listing_the_readers_imports_no_pandas() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from fedretune.cli.manifest import app; "
        "print(CliRunner().invoke(app, ['--help']).stdout); sys.exit('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(name in done.stdout for name in TITLES)


def test_a_misspelt_reader_is_told_the_right_one() -> None:
    result = CliRunner().invoke(app, ["chexprt"])
    assert result.exit_code == 2
    assert "chexpert" in result.stderr


@pytest.mark.parametrize("tree", TREES)
def test_a_file_that_is_not_there_is_named_with_its_option(tmp_path: Path, tree: str) -> None:
    reader, make = TREES[tree]
    plan = make(tmp_path)
    for key, path in plan.files.items():
        gone = Plan(plan.images, {**plan.files, key: path.with_name("gone")}, plan.out)
        with pytest.raises(UserError, match=rf"There is no .*gone \(--{key}\)"):
            make_manifest(reader, gone)


@pytest.fixture(scope="module", params=BROKEN)
def grown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Plan, dict[str, bytes]]:
    """Give a tree, grown once, and its files' contents, which a test may change."""
    reader, make = TREES[request.param]
    plan = make(tmp_path_factory.mktemp("tree"))
    return (
        reader,
        plan,
        {key: path.read_bytes() for key, path in plan.files.items() if path.is_file()},
    )


def run(reader: str, plan: Plan, contents: dict[str, bytes]) -> None:
    """Read changed files: a manifest or a `UserError` comes out, and nothing else."""
    for key, content in contents.items():
        plan.files[key].write_bytes(content)
    lenient = Plan(plan.images, plan.files, plan.out, plan.options, skip_missing=True)
    try:
        made = make_manifest(reader, lenient)
    except UserError:
        return
    root = plan.images.resolve()
    assert all(path.resolve().is_relative_to(root) for path in made.manifest.images)


@settings(max_examples=12)
@given(data=st.data())
def test_flipped_bytes_give_a_manifest_or_a_message(
    grown: tuple[str, Plan, dict[str, bytes]], data: st.DataObject
) -> None:
    reader, plan, contents = grown
    key = data.draw(st.sampled_from(sorted(contents)))
    content = bytearray(contents[key])
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        content[place] = value
    cut = data.draw(st.one_of(st.just(len(content)), places))
    run(reader, plan, {**contents, key: bytes(content[:cut])})


@settings(max_examples=12)
@given(data=st.data())
def test_a_nasty_cell_gives_a_manifest_or_a_message(
    grown: tuple[str, Plan, dict[str, bytes]], data: st.DataObject
) -> None:
    reader, plan, contents = grown
    key = data.draw(st.sampled_from(sorted(contents)))
    if plan.files[key].suffix == ".gz":
        return
    lines = contents[key].decode("latin-1").split("\n")
    row = data.draw(st.integers(0, len(lines) - 1))
    separator = ";" if ";" in lines[row] else ","
    cells = lines[row].split(separator)
    cells[data.draw(st.integers(0, len(cells) - 1))] = data.draw(st.sampled_from(NASTY))
    lines[row] = separator.join(cells)
    run(reader, plan, {**contents, key: "\n".join(lines).encode("latin-1")})


@settings(max_examples=8)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_other_content_gives_a_message(
    grown: tuple[str, Plan, dict[str, bytes]], content: bytes
) -> None:
    reader, plan, contents = grown
    run(reader, plan, {**contents, min(contents): content})
