"""The documentation's site builds, and every link in it leads somewhere."""

import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_strategy_method_and_attack_has_a_page_made_from_its_docstring(site):
    reference = site / "reference"
    assert "client drift" in (reference / "strategies" / "scaffold.html").read_text()
    assert "Kirkpatrick" in (reference / "methods" / "ewc.html").read_text()
    assert "A little is enough" in (reference / "attacks" / "alie.html").read_text()
    assert (
        "No finding comes back" in (reference / "scenarios" / "class-incremental.html").read_text()
    )


def test_every_key_and_command_is_in_the_reference(site):
    from scenarios.config import DEFAULTS

    keys = (site / "reference" / "keys.html").read_text()
    assert all(f"<code>{key}</code>" in keys for key in DEFAULTS)
    commands = (site / "reference" / "commands.html").read_text()
    assert "fedretune study attacks" in commands


def test_no_page_asks_another_host_for_anything(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert 'src="http' not in text
        assert 'rel="stylesheet" href="http' not in text
