"""Trackers are told what a run tells, read back from what they keep; a broken one ends no run."""

import sys

import pytest

from fedretune.errors import UserError
from fedretune.tracking import TRACKERS, Tracking, figures_of, trackers_of

START = {"event": "start", "step": 0}
CONFIG = {"rounds": 2, "method": "retune", "seed": 1}


def round_(experience, number, loss):
    where = {"experience": experience, "round": number, "sites": 3, "asked": 4}
    return {"event": "round", "loss": loss, "bytes_up": 10, "bytes_down": 20, **where}


def evaluation(after, macro, model="adapted"):
    told = {"model": model, "after_experience": after, "macro": macro, "auroc": [macro, None]}
    return {"event": "evaluation", **told}


RUN = [
    START,
    evaluation(-1, 0.5, "zero-shot"),
    round_(0, 0, 0.7),
    round_(0, 1, 0.6),
    evaluation(0, 0.8),
]


def tell(tracker, folder, events, said=None):
    with Tracking([tracker], folder, CONFIG, (said if said is not None else []).append) as tracking:
        for event in events:
            tracking(event)


def test_an_events_figures_have_a_name_and_a_round():
    values, step = figures_of(round_(1, 0, 0.5), rounds=2)
    assert step == 3
    assert values == {
        "loss": 0.5,
        "sites/in": 3.0,
        "sites/asked": 4.0,
        "bytes/up": 10.0,
        "bytes/down": 20.0,
    }
    assert figures_of(evaluation(1, 0.9), 2) == (
        {"auroc/pooled": 0.9, "auroc/experience-1": 0.9},
        4,
    )
    assert figures_of(evaluation(-1, 0.5, "zero-shot"), 2)[1] == 0
    assert figures_of(evaluation(0, None), 2) is None
    assert figures_of({"event": "site"}, 2) is None


@pytest.fixture
def curves(tmp_path):
    """Return what TensorBoard reads: (step, value) of a curve."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def read(name):
        found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
        found.Reload()
        return [(each.step, pytest.approx(each.value)) for each in found.Scalars(name)]

    return read


def test_tensorboard_has_every_curve(tmp_path, curves):
    tell(TRACKERS["tensorboard"](), tmp_path, RUN)
    assert curves("loss") == [(1, 0.7), (2, 0.6)]
    assert curves("zero-shot/pooled") == [(0, 0.5)]
    assert curves("auroc/pooled") == [(2, 0.8)]


def test_a_resumed_run_replaces_in_tensorboard_what_it_does_again(tmp_path, curves):
    tell(TRACKERS["tensorboard"](), tmp_path, [*RUN[:3], round_(0, 1, 9.0)])
    # Two evaluations and one round are done: the second round comes again.
    tell(TRACKERS["tensorboard"](), tmp_path, [{**START, "step": 3}, round_(0, 1, 0.6)])
    assert curves("loss") == [(1, 0.7), (2, 0.6)]


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    mlflow = pytest.importorskip("mlflow")
    return mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())


def test_mlflow_has_the_config_and_every_curve_of_a_run_and_of_its_resumption(tmp_path, client):
    folder = tmp_path / "runs" / "it"
    tell(TRACKERS["mlflow"](), folder, RUN[:3])
    tell(TRACKERS["mlflow"](), folder, [{**START, "step": 3}, *RUN[3:]])
    experiment = client.get_experiment_by_name("FedRETune").experiment_id
    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.status) == ("it", "FINISHED")
    assert run.data.params == {key: str(value) for key, value in CONFIG.items()}
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(1, 0.7), (2, 0.6)]
    assert run.data.metrics["auroc/pooled"] == 0.8


def test_without_an_address_nothing_is_sent_to_mlflow(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI is not set"):
        trackers_of(["mlflow"])


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")]
)
def test_a_package_that_is_missing_is_named_with_the_mend(name, module, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install 'fedretune\[{name}\]'"):
        trackers_of([name])


class Broken:
    """Fails at its first figure."""

    def __init__(self):
        self.ended = False

    def begin(self, run, config, step):
        pass

    def log(self, values, step):
        raise ConnectionError("nobody is there")

    def end(self):
        self.ended = True


def test_a_tracker_that_fails_is_told_no_more_and_the_run_goes_on(tmp_path):
    broken, said = Broken(), []
    tell(broken, tmp_path, RUN, said)
    assert said == ["Broken is told no more: nobody is there"]
    assert not broken.ended
