"""Whole runs whose server learns sums: what it computes, and what it sees."""

import json

import numpy as np
import pandas as pd
import pytest

import clients.app
import clients.secure
import clients.site
from fedretune.errors import UserError
from fedretune.privacy.recorded import recorded
from fedretune.privacy.secure.fixed import FRACTION
from fedretune.report import write_report
from tests.privacy.secured import ONE, SECURE, long, same, statuses, tensors
from tests.run_folders import adaptors


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
