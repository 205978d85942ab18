"""Two real hospitals and a backbone that really sees: where its images and packages are.

`FEDRETUNE_ACCEPTANCE_CACHE` names a cache in which `lite0-minilm` has been built. Vectors stay
there, so only the first run is slow: minutes of encoding, and of building the same backbone around
random weights.
"""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from fedretune.backbones import LITE0_MINILM, towers
from fedretune.backbones.towers import build as building
from fedretune.backbones.towers import model as joining
from fedretune.cli.main import app
from tests.data.two_hospitals import DATA, FINDINGS, pneumonia_half, sexes

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not beside the project"),
    pytest.mark.skipif(
        not all(find_spec(name) for name in towers._PACKAGES),
        reason="the packages of fedretune[towers] are not installed",
    ),
    pytest.mark.skipif(
        "FEDRETUNE_ACCEPTANCE_CACHE" not in os.environ,
        reason=f"FEDRETUNE_ACCEPTANCE_CACHE names no cache in which {LITE0_MINILM} is built",
    ),
]


@pytest.fixture(autouse=True)
def lasting_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDRETUNE_CACHE", os.environ["FEDRETUNE_ACCEPTANCE_CACHE"])


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> str:
    """The same backbone, but that the image tower's weights are random; joined in the same way."""
    folder = towers.default_folder().with_name(f"{LITE0_MINILM}-random")
    if not folder.is_dir():
        monkeypatch.setattr(joining, "_in_order", lambda own, _: own)
        building.build(folder, lambda *_: None, building.Recipe(judged=6))
    return f"local-dir:{folder}"


def simulate(folder: Path, manifest: Path, backbone: str, *options: str) -> dict[str, object]:
    """Run the command, and return its summary."""
    arguments = ["--manifest", str(manifest), "--backbone", backbone, "--out", str(folder)]
    result = CliRunner().invoke(app, ["simulate", *arguments, "--name", "run", "--json", *options])
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def sex(folder: Path, backbone: str) -> dict[str, float]:
    """Return the AUROC of sex over the test patients of each hospital, and over both."""
    folder.mkdir()
    simulate(folder, sexes(folder / "sexes.csv"), backbone, "--experiences", "1")
    table = pd.read_csv(folder / "run" / "auroc.csv")
    last = table[(table["after_experience"] == 0) & (table["scoring"] == "difference")]
    found: dict[str, float] = last.set_index("site")["auroc"].to_dict()
    return found


def test_sex_is_seen_by_the_trained_tower_and_far_less_by_a_random_one(
    tmp_path: Path, untrained: str
) -> None:
    seen = sex(tmp_path / "trained", LITE0_MINILM)
    guessed = sex(tmp_path / "random", untrained)
    print(f"sex: {seen}; with random weights: {guessed}")
    assert seen["nih"] >= 0.85  # Hannover's test patients are 16 men and 6 women: too few
    assert seen["nih"] - guessed["nih"] >= 0.10


def test_a_federated_stream_over_the_findings_of_the_pneumonia_half_ends(tmp_path: Path) -> None:
    manifest = pneumonia_half(tmp_path / "half.csv")
    summary = simulate(tmp_path, manifest, LITE0_MINILM, "--experiences", "3")
    assert (summary["status"], summary["experiences"]) == ("complete", 3)
    assert summary["sites"] == ["site-1", "site-2", "site-3"]
    tested = set(pd.read_csv(tmp_path / "run" / "findings.csv")["finding"])
    assert tested == set(FINDINGS)
