"""The embedded world end to end: phantoms, phantom-clip and the default config.

The figures are what these very runs printed when the test was written. Another version of a
library moves them a little. A change of the phantoms, of the backbone or of a default moves them
more; then they are to be measured anew, and the changelog says so.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedretune.cli.main import app
from fedretune.data.phantoms import write

pytestmark = pytest.mark.slow

TOLERANCE = 0.01
GOLDEN = {
    "default": {"zero_shot_auroc": 0.820, "untrained_auroc": 0.820, "final_auroc": 0.867},
    "precursor": {"zero_shot_auroc": 0.820, "untrained_auroc": 0.449, "final_auroc": 0.765},
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("golden") / "phantoms", patients=800, sites=2, seed=11)


@pytest.mark.parametrize("recipe", list(GOLDEN))
def test_a_run_on_the_embedded_world_gives_its_golden_figures(recipe, manifest, tmp_path):
    options = [] if recipe == "default" else ["--recipe", recipe]
    arguments = ["simulate", "--manifest", str(manifest), "--experiences", "2", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path), *options])
    summary = json.loads(result.stdout)
    figures = {name: summary[name] for name in GOLDEN[recipe]}
    assert figures == pytest.approx(GOLDEN[recipe], abs=TOLERANCE)
