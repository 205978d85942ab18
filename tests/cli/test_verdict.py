"""Whether a run under Flower succeeded is read from its folder, and why not from its log."""

import json

import pytest

from fedretune.cli.flower import check_success
from fedretune.errors import RunFailedError


def verdict(tmp_path, summary, log=""):
    (tmp_path / "flower.log").write_text(log)
    if summary is not None:
        (tmp_path / "summary.json").write_text(json.dumps(summary))
    check_success(tmp_path, tmp_path / "flower.log")


def test_a_complete_run_is_a_success(tmp_path):
    verdict(tmp_path, {"status": "complete"})


def test_a_failed_run_ends_with_its_own_reason_and_exit_code_1(tmp_path):
    with pytest.raises(RunFailedError, match=r"^Too few sites\.\nFlower's log: .*log$") as failed:
        verdict(tmp_path, {"status": "failed", "reason": "Too few sites."}, "OSError: other")
    assert failed.value.exit_code == 1


def test_a_run_without_a_reason_ends_with_the_logs_last_error(tmp_path):
    log = "ValueError: first\nINFO : Error: x\nray.exceptions.RayError: no memory\nbye\n"
    with pytest.raises(RunFailedError, match=r"without a result: ray\.exceptions\.RayError: no m"):
        verdict(tmp_path, None, log)


def test_a_run_without_any_word_still_names_the_log(tmp_path):
    with pytest.raises(RunFailedError, match=r"without a result\nFlower's log: "):
        verdict(tmp_path, None)
