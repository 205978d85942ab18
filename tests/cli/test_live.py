"""The live view: what is said of each event, and that none is missed or told twice."""

import io
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedretune.cli.bars import bar
from fedretune.cli.console import say
from fedretune.cli.ending import final_table
from fedretune.cli.live import RunView, following
from fedretune.tracking import rounds_done
from server.steps import steps


def console(width=80, terminal=False):
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def text_of(made):
    return made.file.getvalue()


def summary(experiences, **changes):
    row = [0.5] * experiences
    return {
        "experiences": experiences,
        "zero_shot_by_experience": row,
        "zero_shot_auroc": 0.5,
        "auroc_after_experience": [row] * experiences,
        "final_auroc": 0.75,
        "forgetting": 0.01,
        "backward_transfer": -0.02,
        "bytes_up_per_site_round": 10_373.0,
        "bytes_up": 7_600_000,
        "bytes_down": 999,
        "wall_seconds": 12.3,
        "undefined_findings": {},
        "quarantined": [],
        **changes,
    }


@given(st.integers(1, 6), st.integers(1, 5), st.data())
def test_the_rounds_among_the_first_steps_are_counted(experiences, rounds, data):
    todo = steps("stream", experiences, rounds)
    done = data.draw(st.integers(0, len(todo)))
    assert rounds_done(done, rounds) == sum(step.kind == "train" for step in todo[:done])


@pytest.mark.parametrize("experiences", [1, 2, 5, 6, 7, 20, 200])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_final_table_fits_and_no_figure_is_cut(experiences, width):
    made = console(width)
    made.print(final_table(summary(experiences), width))
    lines = text_of(made).splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text_of(made)
    assert f" {experiences} " in lines[1]
    assert f"experience {experiences} " in lines[-2]


def test_the_end_tells_the_figures_and_lists_undefined_findings_in_one_line(tmp_path):
    made = console(500)
    undefined = {"Mass": [0, 1, 2], "Pleural Thickening": [0, 2]}
    reasons = ["loss is nan", "num-examples is 0"]
    entries = [
        {"site": "[a]", "status": "quarantined", "times": 2, "reasons": reasons},
        {"site": "b", "status": "silent", "times": 1, "reasons": ["its node is gone"]},
    ]
    figures = summary(3, undefined_findings=undefined, quarantined=entries)
    RunView(made).finish(figures, tmp_path)
    lines = text_of(made).splitlines()
    assert lines[-5:-3] == [
        "Zero-shot 0.500, final 0.750; forgetting 0.010, backward transfer -0.020.",
        "Sent by each site in a round: 10.4 kB; in all 7.6 MB up, 999 B down, in 12 s.",
    ]
    assert lines[-3].endswith(": Mass (all), Pleural Thickening (1, 3).")
    assert lines[-2] == (
        "Not all took part throughout: [a] reply quarantined 2 times (loss is nan); b no reply "
        "once (its node is gone). sites.csv has every time."
    )
    assert lines[-1] == f"Run folder: {tmp_path}"


def names_of(figures):
    """Return the names of the rows of a run's final table."""
    made = console()
    made.print(final_table(figures, 80))
    return [line.split("│")[1].strip() for line in text_of(made).splitlines() if "│" in line]


def test_what_was_trained_all_at_once_is_no_experience():
    assert names_of(summary(2)) == ["zero-shot", "experience 1", "experience 2"]
    assert names_of(summary(2, auroc_after_experience=[[0.5, 0.6]])) == ["zero-shot", "all at once"]
    assert names_of(summary(1)) == ["zero-shot", "experience 1"]


def test_of_a_run_that_trains_nothing_there_is_what_was_evaluated(tmp_path):
    figures = summary(2, auroc_after_experience=[], bytes_up_per_site_round=0.0)
    assert names_of(figures) == ["zero-shot"]
    made = console(500)
    RunView(made).finish({**figures, "untrained_auroc": 0.25}, tmp_path)
    RunView(made).finish({**figures, "untrained_auroc": None}, tmp_path)
    lines = text_of(made).splitlines()
    assert "Zero-shot 0.500, untrained 0.250; nothing was trained." in lines
    assert "Zero-shot 0.500; nothing was trained." in lines
    assert lines.count("Sent to evaluate: 7.6 MB up, 999 B down, in 12 s.") == 2


def test_one_is_not_told_in_the_plural():
    made = console(500)
    start = {"event": "start", "sites": ["a"], "experiences": 1, "rounds": 2, "step": 0}
    RunView(made).show(start)
    assert "1 experience of 2 rounds" in text_of(made)
    assert text_of(made).startswith("1 site (a)")


def test_figures_that_are_not_defined_are_dashes(tmp_path):
    made = console()
    RunView(made).finish(summary(1, forgetting=None, backward_transfer=None), tmp_path)
    assert "forgetting -, backward transfer -." in text_of(made)


@pytest.mark.parametrize("count", [2, 100])
def test_beside_the_bar_stands_how_far_a_run_is_within_80_columns(count):
    made = console(80, terminal=True)
    view = RunView(made)
    many = {"sites": ["a"] * count, "experiences": count, "rounds": 10, "step": 0}
    view.show({"event": "start", **many})
    view.show({"event": "evaluation", "model": "zero-shot", "after_experience": -1, "macro": 0.5})
    where = {"experience": count - 1, "round": 9, "sites": count - 1, "asked": count}
    sizes = {"bytes_up": 900_000, "bytes_down": 123_456_000_000}
    view.show({"event": "round", "loss": 0.6931, **where, **sizes})
    before = len(text_of(made))
    made.print(view.bar)
    lines = text_of(made)[before:].splitlines()
    assert max(map(len, lines)) <= 80
    first, second = (" ".join(line.split()) for line in lines)
    assert first.startswith(f"experience {count}/{count} round 10/10 sites {count - 1} in, 1 out")
    assert first.endswith("-:--") or ":" in first.split()[-1]
    assert second.startswith("loss 0.6931 last AUROC 0.500 123.5 GB so far")


def test_a_log_has_lines_alone_and_no_bar():
    made = console()
    view = RunView(made)
    with view.bar:
        view.show({"event": "start", "sites": ["a"], "experiences": 1, "rounds": 1, "step": 0})
        where = {"experience": 0, "round": 0, "sites": 1, "asked": 1}
        view.show({"event": "round", "loss": 0.5, "bytes_up": 1500, **where})
    told = "experience 1/1  round 1/1  sites 1/1  1.5 kB  loss 0.5000"
    assert text_of(made).splitlines()[1:] == [told]


def site(experience, reason="no images"):
    where = {"experience": experience, "round": 0}
    return {"event": "site", "site": "a", "status": "refused", "reason": reason, **where}


def test_a_site_that_sits_out_is_told_once_an_experience():
    made = console()
    view = RunView(made)
    for event in (site(0), site(0), site(0, "[other]"), site(1)):
        view.show(event)
    told = [line.split("  ")[-1] for line in text_of(made).splitlines()]
    assert told == ["a: refused (no images)", "a: refused ([other])", "a: refused (no images)"]


def write(path, *losses, old=0.0):
    with path.open("a") as file:
        for loss in losses:
            where = {"experience": 0, "round": 0, "sites": 2, "asked": 2}
            event = {"time": time.time() - old, "event": "round", "loss": loss, **where}
            file.write(json.dumps(event) + "\n")


def shown(made):
    return [float(line.split()[-1]) for line in text_of(made).splitlines()]


def test_a_note_and_numbers_that_were_cut_are_told():
    made = console(200)
    view = RunView(made)
    view.show({"event": "start", "sites": ["a"], "experiences": 1, "rounds": 1, "step": 0})
    view.show({"event": "note", "text": "no update is judged"})
    where = {"event": "round", "experience": 0, "round": 0, "sites": 3, "asked": 3, "loss": 0.5}
    view.show({**where, "cut": 1200})
    assert "no update is judged" in text_of(made)
    assert "1,200 numbers of updates were cut to secure-clip" in text_of(made)
    view.show({**where, "cut": 0})
    assert text_of(made).count("secure-clip") == 1


def test_events_are_shown_once_and_those_of_before_are_not(tmp_path):
    path, made = tmp_path / "metrics.jsonl", console()
    write(path, 1.0, 2.0, old=60.0)
    with following(path, RunView(made)):
        write(path, 3.0)
        time.sleep(0.5)
        write(path, 4.0)
    assert shown(made) == [3.0, 4.0]


def test_a_file_that_is_cut_back_and_grows_again_loses_no_event(tmp_path):
    path, made = tmp_path / "metrics.jsonl", console()
    write(path, *map(float, range(50)), old=60.0)
    with following(path, RunView(made)):
        time.sleep(0.5)
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]))
        write(path, *map(float, range(100, 150)))
    assert shown(made) == list(map(float, range(100, 150)))


def test_a_line_that_is_still_being_written_is_waited_for(tmp_path):
    path, made = tmp_path / "metrics.jsonl", console()
    with following(path, RunView(made)):
        write(path, 1.0)
        whole = path.read_bytes()
        path.write_bytes(whole + whole[:30])
        time.sleep(0.5)
        with path.open("ab") as file:
            file.write(whole[30:])
    assert shown(made) == [1.0, 1.0]


@given(st.text("ab ", min_size=1, max_size=200), st.integers(20, 90))
def test_a_terminal_gets_lines_that_are_cut_between_words_alone(text, width):
    made = console(width, terminal=True)
    say(f"x{text}", made)
    lines = text_of(made).splitlines()
    assert " ".join(lines).split() == f"x{text}".split()
    assert all(len(line) <= width or " " not in line.strip() for line in lines)


def test_paths_commands_and_logs_are_never_broken():
    path = "/" + "long/" * 30
    made = console(40, terminal=True)
    say(f"The file {path} is\ngone. Go on with:\n  {'word ' * 20}end", made)
    assert path in text_of(made)
    assert f"  {'word ' * 20}end" in text_of(made).splitlines()
    log = console(40)
    say("word " * 20, log)
    assert len(text_of(log).splitlines()) == 1


def test_progress_is_one_line_in_a_log_and_none_when_there_is_nothing_to_do():
    made = console()
    with bar(made, "Encoding images, once") as show:
        show(0, 0)
        assert text_of(made) == ""
        for done in (0, 400, 1200):
            show(done, 1200)
    assert text_of(made).splitlines() == ["Encoding images, once: 1,200 images"]
