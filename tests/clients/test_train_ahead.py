"""Sites of a simulation that train together, as on a GPU: the same run but for the last bits."""

import numpy as np
import pytest

import clients.ahead
import clients.app
import fedretune.together
from clients.ahead import train_ahead, wanted
from fedretune.adaptors import load
from scenarios import RunConfig
from server.simulator import simulate
from tests.conftest import SITES


@pytest.fixture
def batched_run(synthetic_run, monkeypatch):
    """As `synthetic_run`, with all training messages of a round seen ahead; counts the batches."""
    batches = []

    def counted(models, *given):
        batches.append(len(models))
        return fedretune.together.train_together(models, *given)

    monkeypatch.setattr(clients.ahead, "train_together", counted)

    def run(name: str, **values):
        monkeypatch.setattr(
            "server.simulator.simulate",
            lambda server, client, config, sites, workers: simulate(
                server, client, config, sites, workers, train_ahead
            ),
        )
        folder, _ = synthetic_run(name, **values)
        return folder, batches

    return run


@pytest.mark.parametrize("method", ["retune", "offsets", "linear-probe"])
def test_a_run_is_the_same_together_as_one_by_one(finished, batched_run, method):
    alone, _ = finished(method=method)
    together, batches = batched_run("together", method=method)
    assert batches == [SITES] * 4  # 2 experiences of 2 rounds
    one, other = (load(folder / "adaptors.safetensors")[1] for folder in (alone, together))
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-3, atol=1e-5)


def test_a_method_that_adds_to_the_loss_trains_one_by_one(finished, batched_run):
    alone, _ = finished(method="anchor")
    together, batches = batched_run("together", method="anchor")
    assert batches == []
    assert (alone / "adaptors.safetensors").read_bytes() == (
        together / "adaptors.safetensors"
    ).read_bytes()


def test_sites_train_together_where_it_is_asked_for_or_there_is_a_gpu(monkeypatch):
    def chosen(**values):
        return wanted(RunConfig.from_flat(values))

    assert chosen(batched="always", device="cpu")
    assert not chosen(batched="auto", device="cpu")
    assert chosen(batched="auto", device="cuda")
    assert not chosen(batched="never", device="cuda")
