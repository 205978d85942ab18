"""Secure runs whose sites drop out, are killed with their server, or tell nonsense."""

import shutil

import numpy as np
import pytest

import clients.app
from fedretune.errors import UserError
from fedretune.privacy.recorded import recorded
from fedretune.seeds import derive_seed
from tests.privacy.secured import ONE, SECURE, App, leaving, long, same, statuses
from tests.run_folders import adaptors, killed_after


@pytest.mark.parametrize("message_type", ["query.keys", "query.shares", "train", "query.unmask"])
def test_a_site_may_drop_out_of_any_step_of_a_sum(synthetic_run, message_type):
    """With its vector in the sum, or without: the same as of a plain run with, or without it."""
    gone = leaving("site-2", message_type)
    secure, summary = synthetic_run("secure", client_app=gone, sites=4, **ONE, **SECURE)
    assert summary["status"] == "complete"
    counts = message_type == "query.unmask"
    app = clients.app.app if counts else leaving("site-2", "train")
    plain, _ = synthetic_run("plain", client_app=app, sites=4, **ONE)
    same(secure, plain)
    assert ("site-2" in statuses(secure, "trained")) == counts
    assert statuses(secure, "failed") == ["site-2"]


@pytest.mark.parametrize(
    ("message_type", "did"),
    [
        ("query.keys", "told their keys"),
        pytest.param("query.shares", "shared their secrets out", marks=long),
        pytest.param("train", "sent a vector", marks=long),
        ("query.unmask", "stayed to unmask the sum"),
    ],
)
def test_below_the_threshold_nothing_is_unmasked_and_the_run_can_be_resumed(
    synthetic_run, message_type, did
):
    gone = leaving("site-2", message_type)
    with pytest.raises(UserError, match=f"only 2 of 3 sites {did}.*takes 3.*--resume"):
        synthetic_run("secure", client_app=gone, record_wire=True, **SECURE)
    folder, summary = synthetic_run("secure", resume=True, record_wire=True, **SECURE)
    assert summary["status"] == "complete"
    assert adaptors(folder) == adaptors(synthetic_run("whole", **SECURE)[0])


def test_nobody_is_asked_to_unmask_a_sum_below_the_threshold(synthetic_run, tmp_path):
    gone = leaving("site-2", "train")
    with pytest.raises(UserError, match="sent a vector"):
        synthetic_run("secure", client_app=gone, record_wire=True, **SECURE)
    kinds = [each.kind for each in recorded(tmp_path / "secure") if each.round >= 0]
    assert "train" in kinds
    assert "query.unmask" not in kinds


@pytest.mark.parametrize("step", [pytest.param(0, marks=long), 3, pytest.param(4, marks=long)])
def test_a_killed_run_resumes_to_the_same_bytes(synthetic_run, monkeypatch, step):
    whole, _ = synthetic_run("whole", **SECURE)
    with killed_after(step, monkeypatch):
        synthetic_run("killed", **SECURE)
    folder, _ = synthetic_run("killed", resume=True, **SECURE)
    assert adaptors(folder) == adaptors(whole)
    assert (folder / "auroc.csv").read_bytes() == (whole / "auroc.csv").read_bytes()


def test_after_a_kill_no_sum_of_other_sites_is_unmasked_in_the_same_place(
    synthetic_run, monkeypatch, tmp_path
):
    """The difference of the two would be the missing site's own vector."""
    with killed_after(2, monkeypatch):
        synthetic_run("killed", sites=4, **SECURE)
    shutil.rmtree(tmp_path / "killed" / "sums")  # else the server need not ask again
    app = leaving("site-2", "train")
    with pytest.raises(UserError, match="only 0 of 4 sites stayed to unmask"):
        synthetic_run("killed", sites=4, resume=True, client_app=app, **SECURE)


def test_a_sum_that_was_told_is_not_lost_with_one_of_its_sites(
    synthetic_run, monkeypatch, tmp_path
):
    with killed_after(2, monkeypatch):
        synthetic_run("killed", sites=4, rounds=1, experiences=1, **SECURE)
    kept = {path.name for path in (tmp_path / "killed" / "sums").iterdir()}
    assert "0001-00001-adapted-train.safetensors" in kept
    app = leaving("site-2", "train")
    resumed, _ = synthetic_run("killed", sites=4, resume=True, client_app=app, **ONE, **SECURE)
    assert adaptors(resumed) == adaptors(synthetic_run("whole", sites=4, **ONE, **SECURE)[0])
    assert not (resumed / "sums").exists()


def spoiling(record: str, how) -> App:
    """Return a client app in which site-2 spoils a record of its reply to a step of a sum."""

    def app(message, context):
        reply = clients.app.app(message, context)
        found = reply.content.config_records.get(record)
        told = message.content.config_records.get("position", {"round": -1})
        if context.node_id == 2 and found is not None and int(told["round"]) >= 0:
            how(found)
        return reply

    return app


def _no_hex(found):
    found["mask"] = "x" * 64


def _weak(found):
    found["seal"] = "00" * 32


def _one_key(found):
    found["seal"] = found["mask"]


def _stranger(found):
    found["to"] = [*found["to"][:-1], "site-9"]


def _short(found):
    found["boxes"] = [box[:-2] for box in found["boxes"]]


def _twice(found):
    found["to"] = [found["to"][0]] * len(found["to"])


def _fewer(found):
    found["of"], found["shares"] = found["of"][1:], found["shares"][1:]


@pytest.mark.parametrize(
    ("record", "how"),
    [
        pytest.param("keys", _no_hex, marks=long),
        ("keys", _weak),
        pytest.param("keys", _one_key, marks=long),
        pytest.param("shares", _stranger, marks=long),
        ("shares", _short),
        pytest.param("shares", _twice, marks=long),
        ("told", _fewer),
    ],
)
def test_a_site_that_tells_nonsense_is_listed_and_stops_no_sum(synthetic_run, record, how):
    folder, summary = synthetic_run(client_app=spoiling(record, how), sites=4, **ONE, **SECURE)
    assert summary["status"] == "complete"
    assert statuses(folder, "quarantined") == ["site-2"]


def test_a_site_that_sends_noise_in_the_place_of_its_vector_is_found_to_have_been_there(
    synthetic_run,
):
    def app(message, context):
        reply = clients.app.app(message, context)
        if message.metadata.message_type == "train" and context.node_id == 2:
            record = reply.content.array_records["masked"]
            data = bytearray(record["packed"].data)
            start, seed = len(data) // 2, derive_seed("noise")
            data[start:-8] = np.random.default_rng(seed).bytes(len(data) - start - 8)
            record["packed"].data = bytes(data)
        return reply

    with pytest.raises(UserError, match=r"adds up to a sum .* nobody can see which"):
        synthetic_run(client_app=app, **ONE, **SECURE)
    folder, _ = synthetic_run(resume=True, **ONE, **SECURE)  # now that it is mended
    assert adaptors(folder) == adaptors(synthetic_run("whole", **ONE, **SECURE)[0])
