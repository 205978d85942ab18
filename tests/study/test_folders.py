"""What of a study is there already."""

import json

import pytest
import tomli_w

from fedretune.errors import UserError
from fedretune.study.folders import state_of
from server.app import differences_from

CONFIG = {"train.lr": 0.1, "rounds": 2, "out": "here"}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.toml").write_text(tomli_w.dumps({"config": CONFIG}))
    return tmp_path


def test_a_folder_that_does_not_say_what_it_is_is_new(tmp_path):
    assert state_of(tmp_path, CONFIG, differences_from) == "new"
    assert state_of(tmp_path / "none", CONFIG, differences_from) == "new"


def test_only_a_run_that_came_to_its_end_is_done(run):
    assert state_of(run, CONFIG, differences_from) == "begun"
    for status, state in (("failed", "begun"), ("complete", "done")):
        (run / "summary.json").write_text(json.dumps({"status": status}))
        assert state_of(run, CONFIG, differences_from) == state


def test_a_key_that_changes_no_figure_may_differ(run):
    assert state_of(run, {**CONFIG, "out": "there"}, differences_from) == "begun"


@pytest.mark.parametrize("status", ["failed", "complete"])
def test_a_run_of_another_config_is_refused_with_its_folder_the_key_and_the_mend(run, status):
    (run / "summary.json").write_text(json.dumps({"status": status}))
    with pytest.raises(UserError) as error:
        state_of(run, {**CONFIG, "rounds": 3}, differences_from)
    message = str(error.value)
    assert message.startswith(f"{run} holds a run of another config: rounds was 2 and is 3.")
    assert "another --out" in message
