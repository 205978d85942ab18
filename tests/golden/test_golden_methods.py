"""Every method in every scenario on the embedded world, held to what it once printed.

``python -m tests.golden.test_golden_methods`` measures anew and writes ``methods.json``; then the
changelog says why the figures moved.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedretune.cli.main import app
from fedretune.data.phantoms import write
from fedretune.methods import METHODS, method_of

GOLDEN = Path(__file__).with_name("methods.json")
TOLERANCE = 0.01
FIGURES = ("final_auroc", "forgetting", "finding_forgetting")
SCENARIOS = {
    "data-incremental": (),
    "class-incremental mask": ("--set", "unlabelled=mask"),
    "class-incremental negative": ("--set", "unlabelled=negative"),
    "label-incremental mask": ("--set", "unlabelled=mask"),
    "label-incremental negative": ("--set", "unlabelled=negative"),
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

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("golden-methods")]


def make_manifest(folder: Path) -> Path:
    return write(folder / "phantoms", patients=500, sites=2, seed=12)


def measure(manifest: Path, out: Path, scenario: str, method: str) -> dict[str, float | None]:
    arguments = ["simulate", "--manifest", str(manifest), "--experiences", "3", "--rounds", "2"]
    arguments += ["--scenario", scenario.split()[0], "--method", method, *SCENARIOS[scenario]]
    arguments += ["--set", "train.epochs=3", "--set", "remedy.replay=40", "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return {name: json.loads(result.stdout)[name] for name in FIGURES}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_manifest(tmp_path_factory.mktemp("golden"))


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
