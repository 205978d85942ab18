"""What every method must do: each test here runs for all that are registered."""

import numpy as np
import pandas as pd
import pytest

from fedretune.adaptors import load
from fedretune.errors import UserError
from fedretune.methods import METHODS, method_of
from tests.run_folders import adaptors, killed_after

#: A name for each part, in a scenario in which all of them make sense.
NAMES = list(METHODS)
SCENARIO = {"scenario": "class-incremental", "experiences": 3, "remedy__replay": 5, "sites": 2}
REMEDIES = [name for name in NAMES if method_of(name).remedies]
TRAINING = [name for name in NAMES if method_of(name).trains]

every_method = pytest.mark.parametrize("method", NAMES)
every_remedy = pytest.mark.parametrize("method", REMEDIES)


@every_method
def test_a_method_runs_to_its_end_and_reports_the_figures(finished, method):
    folder, summary = finished(method=method, **SCENARIO)
    assert summary["status"] == "complete"
    assert summary["method"] == method
    assert 0 <= summary["final_auroc"] <= 1
    rounds = pd.read_csv(folder / "sites.csv").query("status == 'trained'")
    assert (len(rounds) > 0) == method_of(method).trains


@every_method
def test_a_method_gives_the_same_bytes_again(synthetic_run, finished, method):
    folders = [run(method=method, **SCENARIO)[0] for run in (finished, synthetic_run)]
    tables = [(folder / "auroc.csv").read_bytes() for folder in folders]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("step", [4, 5, 6])
@pytest.mark.parametrize("method", [*REMEDIES, "offsets"])
def test_what_is_remembered_along_the_stream_survives_a_kill(
    synthetic_run, finished, monkeypatch, method, step
):
    """Steps 3 and 4 are the first experience's rounds, 5 its evaluation, 6 the next round."""
    whole, _ = finished(method=method, **SCENARIO)
    with killed_after(step, monkeypatch):
        synthetic_run("killed", method=method, **SCENARIO)
    folder, _ = synthetic_run("killed", method=method, resume=True, **SCENARIO)
    assert adaptors(folder) == adaptors(whole)


@every_remedy
def test_a_remedy_of_some_strength_changes_what_is_learnt(finished, method):
    plain = adaptors(finished(method="retune", **SCENARIO)[0])
    assert adaptors(finished(method=method, **SCENARIO)[0]) != plain


@pytest.mark.parametrize("method", [name for name in REMEDIES if name != "replay"])
def test_a_remedy_of_no_strength_is_the_method_without_it(synthetic_run, finished, method):
    without = "lora-sum" if method == "o-lora" else "retune"
    plain, _ = finished(method=without, **SCENARIO)
    remedy, _ = synthetic_run(method=method, **{f"remedy__{method}": 0.0}, **SCENARIO)
    mine, theirs = (load(folder / "adaptors.safetensors")[1] for folder in (plain, remedy))
    for name, array in mine.items():
        np.testing.assert_allclose(array, theirs[name], atol=1e-6)


@every_method
def test_all_that_a_method_trains_stays_finite(finished, method):
    folder, _ = finished(method=method, **SCENARIO)
    values = pd.read_json(folder / "metrics.jsonl", lines=True).query("event == 'round'")
    assert len(values) == 0 or np.isfinite(values["loss"]).all()


def test_joint_on_one_experience_is_retune_on_it(synthetic_run):
    folders = [
        synthetic_run(method, method=method, experiences=1)[0] for method in ("joint", "retune")
    ]
    assert adaptors(folders[0]) == adaptors(folders[1])


def test_joint_sees_each_image_once_an_epoch_as_the_stream_does(synthetic_run):
    def visits(method):
        folder, _ = synthetic_run(method, method=method, experiences=4, rounds=3)
        events = pd.read_json(folder / "metrics.jsonl", lines=True).query("event == 'round'")
        return int(events["examples"].sum())

    assert visits("joint") == visits("retune")


def test_central_is_one_site_with_the_images_of_all(synthetic_run):
    folder, summary = synthetic_run(method="central")
    assert summary["sites"] == ["central"]
    central = pd.read_json(folder / "metrics.jsonl", lines=True).query("event == 'round'")
    folder, _ = synthetic_run("federated")
    federated = pd.read_json(folder / "metrics.jsonl", lines=True).query("event == 'round'")
    assert list(central["examples"]) == list(federated["examples"])


def test_local_trains_one_adaptor_a_site_and_averages_none(synthetic_run):
    folder, summary = synthetic_run(method="local")
    own = {path.stem: load(path)[1] for path in sorted((folder / "adaptors").iterdir())}
    assert list(own) == summary["sites"]
    first, *others = (arrays["parts.image.hidden.weight"] for arrays in own.values())
    assert not any(np.array_equal(first, other) for other in others)
    assert not (folder / "adaptors.safetensors").exists()


def test_a_local_site_alone_is_a_federation_of_one(synthetic_run):
    alone, _ = synthetic_run("alone", method="local", sites=1)
    federated, _ = synthetic_run("federated", sites=1)
    own = load(alone / "adaptors" / "site-1.safetensors")[1]
    shared = load(federated / "adaptors.safetensors")[1]
    assert all(np.array_equal(own[name], shared[name]) for name in own)


def test_a_masked_linear_probe_never_changes_a_finding_that_it_does_not_train(finished):
    _, summary = finished(method="linear-probe", **SCENARIO)
    assert summary["finding_forgetting"] == 0.0


def test_unlabelled_findings_as_negatives_change_what_is_learnt(synthetic_run, finished):
    masked = adaptors(finished(method="retune", **SCENARIO)[0])
    assert adaptors(synthetic_run("negative", unlabelled="negative", **SCENARIO)[0]) != masked


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lwff", "Did you mean 'lwf'"),
        ("retune+", "Unknown method ''"),
        ("joint+joint", "both at-once and at-once"),
        ("local+central", "both local and central"),
        ("linear-probe+mlp-probe", "names two probes"),
        ("ewc+ewc", "names 'ewc' twice"),
        ("joint+ewc", "needs a stream to forget"),
        ("linear-probe+offsets", "no prompts to hold or to shift"),
        ("linear-probe+anchor", "no prompts to hold or to shift"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(name, words):
    with pytest.raises(UserError, match=words.replace("+", r"\+")):
        method_of(name)


@pytest.mark.parametrize("name", ["retune+ewc+lwf", "linear-probe+joint", "mlp-probe+replay+local"])
def test_parts_go_together_in_any_order(name):
    turned = "+".join(reversed(name.split("+")))
    one, other = method_of(name), method_of(turned)
    assert (one.probe, one.order, one.arrangement) == (other.probe, other.order, other.arrangement)
    assert set(one.remedies) == set(other.remedies)
