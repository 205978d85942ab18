"""The rows themselves, tiny: that they run and measure what they say, never how fast."""

import json
import logging
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import fedretune.bench.run
from fedretune.bench import FULL, QUICK, ROWS, Options, chosen
from fedretune.bench.frame import Case, Sample, Side, measure
from fedretune.bench.made import make_manifest
from fedretune.bench.rows import help as help_row
from fedretune.bench.rows import second_start, simulate
from fedretune.bench.rows.flower import training_seconds
from fedretune.bench.rows.simulate import TimedGrid
from fedretune.bench.run import run_rows
from fedretune.cli.bench import command
from fedretune.data.manifest import load_manifest
from fedretune.embeddings import embed_images
from fedretune.errors import UserError
from tests.bench.conftest import APP, TINY

app = typer.Typer()
app.command("bench")(command)


def test_every_repeated_scale_is_at_least_five() -> None:
    assert min(FULL.repeats, QUICK.repeats) >= 5


@pytest.mark.parametrize(
    "name",
    [
        "phantoms",
        "embedding",
        "simulate",
        "workers",
        pytest.param("lora-cached", marks=pytest.mark.long),
    ],
)
def test_a_row_gives_figures_for_each_side(name: str, options: Options) -> None:
    threads = torch.get_num_threads()
    (result,) = run_rows([name], TINY, options.backbone, APP)
    assert result.name == name
    for side in (result.a, *([result.b] if result.b else [])):
        assert len(side.values) == 1
        assert side.median > 0
    assert torch.get_num_threads() == threads


def test_an_unknown_row_stops_a_bench_before_its_first_row() -> None:
    with pytest.raises(UserError, match=r"Unknown bench row 'simulat'.*Did you mean 'simulate'"):
        next(run_rows(["phantoms", "simulat"], TINY, "phantom-clip", None))


def test_a_quick_bench_leaves_out_what_takes_long_unless_it_is_named() -> None:
    assert chosen([], FULL) == list(ROWS)
    assert set(ROWS) - set(chosen([], QUICK)) == {
        *("embedding-vit", "run", "secure-round-64", "second-start", "site-message")
    }
    assert chosen(["embedding-vit"], QUICK) == ["embedding-vit"]


def test_flower_tells_nothing_but_warnings_while_a_row_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("flwr")
    monkeypatch.setattr(log, "propagate", True)

    def telling(options: Options) -> Case:
        log.setLevel(logging.INFO)  # as Flower does when it is imported
        log.info("a round")
        log.warning("a fault")
        return good(options)

    monkeypatch.setattr(sys.modules[__name__], "telling", telling, raising=False)
    rows = type(ROWS)("bench row", {"telling": f"{__name__}:telling"})
    monkeypatch.setattr(fedretune.bench, "ROWS", rows)
    monkeypatch.setattr(fedretune.bench.run, "ROWS", rows)
    list(run_rows([], TINY, "phantom-clip", None))
    log.info("after")
    assert [record.message for record in caplog.records] == ["a fault", "after"]


def test_a_made_world_is_embedded_already_and_its_files_differ(options: Options) -> None:
    manifest = load_manifest(make_manifest(options, 3))
    embeddings = embed_images(manifest, options.backbone)
    assert embeddings.encoded == 0
    assert len(set(embeddings.rows.tolist())) == len(manifest) > 60


def test_the_floor_takes_as_many_steps_as_the_sites(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    import clients.site

    taken, train = [], clients.site.train

    def counting(*arguments: object) -> object:
        taken.append(train(*arguments))
        return taken[-1]

    monkeypatch.setattr(clients.site, "train", counting)
    case = simulate.row(options)
    assert case.b is not None
    case.a.measure()
    case.b.measure()
    assert case.facts["steps"] == sum(result.steps for result in taken) > 0


def test_a_grids_seconds_run_to_the_next_exchange() -> None:
    marks = [("evaluate", 1.0), ("train", 2.0), ("train", 4.0), ("evaluate", 7.0), ("end", 100.0)]
    grid = TimedGrid(None, marks)
    assert grid.seconds("train") == 2.0 + 3.0
    assert grid.seconds("evaluate") == 1.0 + 93.0


def test_a_failed_process_is_told_by_its_last_line() -> None:
    from fedretune.bench.process import python

    with pytest.raises(UserError, match="ValueError: too bad"):
        python(("-c", "raise ValueError('too bad')"))


def test_the_command_line_starts_without_torch(options: Options) -> None:
    case = help_row.row(options)
    assert case.facts["torch_imported"] is False
    assert case.a.measure().value > 0


@pytest.mark.long
def test_a_second_start_opens_the_world(options: Options) -> None:
    result = measure("second-start", second_start.row(options), 1)
    assert result.b is not None
    assert result.facts["images"] > 60


def test_the_command_writes_what_is_done_when_a_later_row_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(options: Options) -> Case:
        raise UserError("no such luck")

    entries = {"good": f"{__name__}:good", "bad": f"{__name__}:bad"}
    monkeypatch.setattr(sys.modules[__name__], "bad", broken, raising=False)
    rows = type(ROWS)("bench row", entries)
    monkeypatch.setattr(fedretune.bench, "ROWS", rows)
    monkeypatch.setattr(fedretune.bench.run, "ROWS", rows)
    out = tmp_path / "bench.json"
    failed = CliRunner().invoke(app, ["--quick", "--out", str(out)])
    assert isinstance(failed.exception, UserError)
    written = json.loads(out.read_text())
    assert [row["name"] for row in written["rows"]] == ["good"]

    good = CliRunner().invoke(app, ["--quick", "--row", "good", "--out", str(out), "--json"])
    assert good.exit_code == 0
    assert json.loads(good.stdout) == json.loads(out.read_text())
    assert json.loads(good.stdout)["settings"]["repeats"] == QUICK.repeats
    assert json.loads(good.stdout)["machine"]["cores"] >= 1


def good(options: Options) -> Case:
    """Return a row that costs nothing."""
    return Case("s", Side("nothing", lambda: Sample(1.0, None)))


def test_the_seconds_of_training_are_those_between_a_rounds_event_and_the_one_before(
    tmp_path: Path,
) -> None:
    events = [("start", 1.0), ("evaluation", 3.0), ("round", 3.5), ("site", 4.0), ("round", 4.75)]
    lines = [json.dumps({"event": kind, "time": time}) for kind, time in events]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert training_seconds(tmp_path / "metrics.jsonl") == pytest.approx(0.5 + 0.75)
