"""Whole runs whose server learns sums: what it computes, what it sees, and who may drop out."""

import csv
import json
import shutil
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

import clients.app
import clients.secure
import clients.site
from fedretune.adaptors import load
from fedretune.errors import UserError
from fedretune.privacy.recorded import recorded
from fedretune.privacy.secure.fixed import FRACTION
from fedretune.report import write_report
from fedretune.seeds import derive_seed
from tests.run_folders import adaptors, killed_after

#: One round: after that, sites train from adaptors that differ in their last bits.
ONE = {"experiences": 1, "rounds": 1}
SECURE = {"secure_aggregation": True}
#: A site's change is rounded to the nearest multiple of ``2 ** -FRACTION``, and so is no mean of
#: them further away than half of it.
HALF = 2.0 ** -(FRACTION + 1)

#: Others stand for these in `make test`.
long = pytest.mark.long

App = Callable[[object, object], object]


def tensors(folder):
    return load(folder / "adaptors.safetensors")[1]


def same(secure, plain, times: float = 1.0) -> None:
    """Check that two runs end within the resolution of fixed point, and of float32."""
    for name, array in tensors(plain).items():
        atol = times * HALF + float(np.spacing(np.abs(array).max()))
        np.testing.assert_allclose(tensors(secure)[name], array, rtol=0, atol=atol)


def leaving(site: str, message_type: str) -> App:
    """Return a client app in which a site is gone when a message of this type comes to it.

    Of those of a training round, and from then on in that sum.
    """

    def app(message, context):
        told = message.content.config_records.get("position")
        trains = told is not None and int(told["round"]) >= 0
        of_type = trains and message.metadata.message_type == message_type
        if of_type and clients.app.open_site(context).name == site:
            raise OSError("gone")
        return clients.app.app(message, context)

    return app


def statuses(folder, status: str) -> list[str]:
    with (folder / "sites.csv").open(newline="") as file:
        return [row["site"] for row in csv.DictReader(file) if row["status"] == status]


@pytest.mark.parametrize(
    ("values", "times"),
    [
        ({}, 1),
        pytest.param({"strategy": "fedprox"}, 1, marks=long),
        ({"strategy": "fedavgm"}, 1),
        pytest.param({"averaging": "positives"}, 1, marks=long),
        pytest.param({"method": "offsets", "averaging": "positives"}, 1, marks=long),
        ({"method": "linear-probe", "averaging": "positives"}, 1),
        # A step is at most server-lr / tau times as sensitive as the mean that it is made of.
        ({"strategy": "fedadam"}, 10),
        pytest.param({"strategy": "fedyogi"}, 10, marks=long),
        pytest.param({"strategy": "fedadagrad"}, 10, marks=long),
        ({"method": "ewc+replay", "remedy__replay": 20}, 1),
    ],
    ids=lambda each: "-".join(map(str, each.values())) if isinstance(each, dict) else "",
)
def test_the_adaptor_is_that_of_a_plain_run_within_the_resolution(synthetic_run, values, times):
    plain, _ = synthetic_run("plain", **ONE, **values)
    secure, _ = synthetic_run("secure", **ONE, **SECURE, **values)
    same(secure, plain, times)


def test_a_whole_stream_ends_with_the_figures_of_a_plain_one_pooled_alone(synthetic_run):
    plain, before = synthetic_run("plain")
    secure, summary = synthetic_run("secure", **SECURE)
    assert summary["final_auroc"] == pytest.approx(before["final_auroc"], abs=2e-3)
    table, other = (pd.read_csv(folder / "auroc.csv") for folder in (secure, plain))
    assert set(table["site"]) == {"pooled"}
    assert set(pd.read_csv(secure / "measures.csv")["site"]) == {"pooled"}
    pooled = other[other["site"] == "pooled"].reset_index(drop=True)
    untrained = pooled["after_experience"] < 0
    pd.testing.assert_frame_equal(table[untrained], pooled[untrained])
    assert set(statuses(secure, "trained")) == {"site-1", "site-2", "site-3"}


def test_a_report_of_a_run_says_why_it_has_no_figures_of_sites(synthetic_run, tmp_path):
    folder, _ = synthetic_run(**ONE, **SECURE)
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "Secure aggregation: the server has learnt sums" in page
    assert "Images are those that a site announced" not in page


def test_the_examples_and_the_loss_of_a_round_are_those_of_a_plain_one(synthetic_run):
    plain, secure = (synthetic_run(str(s), **ONE, secure_aggregation=s)[0] for s in (False, True))
    told = []
    for folder in (plain, secure):
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        told.append(next(line for line in lines if line["event"] == "round"))
    assert [each["examples"] for each in told] == [told[0]["examples"]] * 2
    assert told[1]["loss"] == pytest.approx(told[0]["loss"], abs=1e-4)
    assert told[1]["cut"] == 0


def test_sites_cut_what_changes_by_more_than_secure_clip_and_the_sum_tells_how_much(synthetic_run):
    folder, _ = synthetic_run(**ONE, **SECURE, secure_clip=2**-8, train__lr=0.1)
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    assert next(line for line in lines if line["event"] == "round")["cut"] > 0


@pytest.fixture
def watched(monkeypatch):
    """Keep what each site trains and counts, before it is masked."""
    kept = {"adaptors": [], "counts": []}
    train, histograms = clients.site.Site.train, clients.site.Site.histograms

    def training(self, *args):
        reply = train(self, *args)
        kept["adaptors"].append((args[0]["adaptor"], reply[0]["adaptor"]))
        return reply

    def counting(self, *args):
        found = histograms(self, *args)
        kept["counts"].append(found["counts"])
        return found

    monkeypatch.setattr(clients.site.Site, "train", training)
    monkeypatch.setattr(clients.site.Site, "histograms", counting)
    return kept


def spellings(kept) -> list[bytes]:
    """Return each site's own numbers, as they might be written on the wire."""
    found = []
    for start, trained in kept["adaptors"]:
        for name, array in trained.items():
            change = array.astype(np.float64) - start[name]
            whole = np.rint(change * 2**FRACTION).astype("<i8").ravel()
            found += [array.tobytes(), change.astype("<f4").tobytes(), whole.tobytes()]
            # A run of numbers, in each width that a ring may have.
            found += [
                np.ascontiguousarray(whole.view(np.uint8).reshape(-1, 8)[:8, :width]).tobytes()
                for width in range(4, 9)
            ]
    found += [counts[0, 0, 0].astype(kind).tobytes() for counts in kept["counts"] for kind in "HI"]
    return [each for each in found if len(set(each)) > 8]


def test_no_recorded_message_holds_a_sites_own_numbers(synthetic_run, watched):
    plain, _ = synthetic_run("plain", record_wire=True)
    up = [each.content() for each in recorded(plain) if each.direction == "up"]
    assert any(each in message for each in spellings(watched) for message in up)  # it can find them
    watched["adaptors"].clear()
    watched["counts"].clear()
    secure, _ = synthetic_run("secure", record_wire=True, **SECURE)
    messages = [each for each in recorded(secure) if each.direction == "up"]
    sought = spellings(watched)
    assert len(sought) > 100
    for message in messages:
        content = message.content()
        assert not any(each in content for each in sought)
        assert not {"metrics", "adaptor", "histogram", "counts"} & {
            *message.arrays(),
            *message.scalars(),
        }


def test_masked_messages_are_uniform_and_no_two_are_alike(synthetic_run):
    """A chi-squared test of all their bytes: of 255 degrees of freedom, six standard deviations."""
    folder, _ = synthetic_run(record_wire=True, **SECURE)
    vectors = [
        each.arrays()["masked"]["vector"]
        for each in recorded(folder)
        if each.direction == "up" and not each.kind.startswith("query")
    ]
    # Two sums for each of four models, one for each of four rounds, of three sites each.
    assert len(vectors) == 3 * (2 * 4 + 4)
    drawn = np.concatenate([each.ravel() for each in vectors])
    expected = drawn.size / 256
    squared = ((np.bincount(drawn, minlength=256) - expected) ** 2 / expected).sum()
    assert abs(squared - 255) < 6 * np.sqrt(2 * 255)
    assert len({each.tobytes() for each in vectors}) == len(vectors)


def test_a_site_tells_that_it_has_images_and_not_how_many(synthetic_run):
    folder, _ = synthetic_run(record_wire=True, **ONE, **SECURE)
    told = [
        each.scalars()["site"]
        for each in recorded(folder)
        if each.kind == "query" and each.direction == "up"
    ]
    assert len(told) == 3
    assert all(each["train-examples"] == each["test-examples"] == [1] for each in told)
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    assert {str(line["train"]) for line in lines if line["event"] == "joined"} == {"[]"}


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


def test_the_bytes_do_not_depend_on_the_number_of_workers(synthetic_run):
    one, _ = synthetic_run("one", **ONE, **SECURE)
    two, _ = synthetic_run("two", workers=2, **ONE, **SECURE)
    assert adaptors(one) == adaptors(two)


def test_no_secret_is_left_on_a_sites_disk(synthetic_run):
    folder, _ = synthetic_run(**ONE, **SECURE)
    kept = {path.name for path in (folder / "memory").rglob("*") if path.is_file()}
    assert kept == {".lock", "unmasked.json"}


def test_what_privacy_is_spent_is_told_under_masks_too(synthetic_run):
    private = {"privacy__mechanism": "example", "privacy__noise": 2.0, "privacy__steps": 2}
    plain, before = synthetic_run("plain", **ONE, **private)
    secure, summary = synthetic_run("secure", **ONE, **private, **SECURE)
    assert (secure / "privacy.csv").read_text() == (plain / "privacy.csv").read_text()
    assert summary["epsilon"] == before["epsilon"]
    same(secure, plain)


def test_the_guard_stops_a_site_that_forgets_to_mask(synthetic_run, monkeypatch):
    monkeypatch.setattr(clients.secure, "masked_update", lambda *args: args[-1])
    with pytest.raises(UserError, match="0 of 3 sites sent a vector"):
        synthetic_run(**ONE, **SECURE)


def test_a_site_with_more_images_than_sums_have_room_for_declines(synthetic_run):
    with pytest.raises(UserError, match="0 of 3 sites sent a vector"):
        synthetic_run("few", **ONE, **SECURE, secure_examples=3)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("late-join", {"join_at": 2}),
        pytest.param("asynchronous", {}, marks=long),
        pytest.param("partial-labels", {}, marks=long),
    ],
)
def test_it_goes_with_the_schedules(synthetic_run, schedule, values):
    sites = {"sites": 6, "schedule": schedule, **values}
    plain, _ = synthetic_run("plain", rounds=1, **sites)
    secure, _ = synthetic_run("secure", rounds=1, **sites, **SECURE)
    first, second = (tensors(folder) for folder in (plain, secure))
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, rtol=0, atol=1e-3)


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
