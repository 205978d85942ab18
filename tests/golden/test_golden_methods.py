"""The embedded world end to end, and every method in every scenario on it, as they once were.

The figures are what these very runs printed when the test was written. Another version of a
library moves them a little. A change of the phantoms, of the backbone or of a default moves them
more; then they are to be measured anew, and the changelog says so.

``python -m tests.golden.test_golden_methods`` measures anew and writes ``methods.json``.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import clients.app
import server.app
from fedretune.cli.main import app
from fedretune.data.phantoms import write
from fedretune.methods import METHODS, method_of
from server.simulator import simulate

GOLDEN = Path(__file__).with_name("methods.json")
TOLERANCE = 0.01
FIGURES = ("final_auroc", "forgetting", "finding_forgetting")
SCENARIOS = {
    "data-incremental": {},
    "class-incremental mask": {"unlabelled": "mask"},
    "class-incremental negative": {"unlabelled": "negative"},
    "label-incremental mask": {"unlabelled": "mask"},
    "label-incremental negative": {"unlabelled": "negative"},
}
#: LoRA needs a transformer, and the embedded backbone is none: tests/tuning has a small one.
ON_VECTORS = [name for name in METHODS if "adaptor.kind" not in method_of(name).settings]
#: `joint-withheld` is `joint` where nothing is withheld, and refused.
CASES = [
    (scenario, method)
    for scenario in SCENARIOS
    for method in ON_VECTORS
    if (scenario, method) != ("data-incremental", "joint-withheld")
]

#: Of the default config and of a recipe, by the command line, in two experiences.
RECIPES = {
    "": {"zero_shot_auroc": 0.839, "untrained_auroc": 0.839, "final_auroc": 0.894},
    "precursor": {"zero_shot_auroc": 0.839, "untrained_auroc": 0.411, "final_auroc": 0.724},
}

pytestmark = pytest.mark.slow


def make_manifest(folder: Path) -> Path:
    return write(folder / "phantoms", patients=500, sites=2, seed=12)


def measure(manifest: Path, out: Path, scenario: str, method: str) -> dict[str, float | None]:
    config = {"manifest": str(manifest), "out": str(out), "name": "it", "method": method}
    config |= {"scenario": scenario.split()[0], "experiences": 3, "rounds": 2, "sites": 2}
    config |= {"train.epochs": 3, "remedy.replay": 40, **SCENARIOS[scenario]}
    simulate(server.app.app, clients.app.app, config, sites=2)
    summary = json.loads((out / "it" / "summary.json").read_text())
    return {name: summary[name] for name in FIGURES}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_manifest(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda name: name or "default")
def test_a_run_on_the_embedded_world_gives_its_golden_figures(recipe, manifest, tmp_path):
    arguments = ["simulate", "--manifest", str(manifest), "--experiences", "2", "--json"]
    arguments += ["--out", str(tmp_path), *(["--recipe", recipe] if recipe else [])]
    summary = json.loads(CliRunner().invoke(app, arguments).stdout)
    figures = {name: summary[name] for name in RECIPES[recipe]}
    assert figures == pytest.approx(RECIPES[recipe], abs=TOLERANCE)


@pytest.mark.parametrize(("scenario", "method"), CASES)
def test_a_method_gives_its_golden_figures(scenario, method, manifest, tmp_path):
    expected = json.loads(GOLDEN.read_text())[scenario][method]
    found = measure(manifest, tmp_path, scenario, method)
    assert found == {name: pytest.approx(value, abs=TOLERANCE) for name, value in expected.items()}


def test_there_is_a_golden_figure_for_every_case_and_no_other():
    told = json.loads(GOLDEN.read_text())
    assert {(scenario, method) for scenario in told for method in told[scenario]} == set(CASES)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = make_manifest(Path(folder))
        figures: dict[str, dict[str, dict[str, float | None]]] = {}
        for number, (scenario, method) in enumerate(CASES):
            found = measure(made, Path(folder) / str(number), scenario, method)
            figures.setdefault(scenario, {})[method] = found
    GOLDEN.write_text(json.dumps(figures, indent=1) + "\n")
