"""`fedretune doctor`: every question is asked, and what is wrong is told with its mend."""

import json
import socket
import sys
from importlib import metadata

import pytest

from fedretune.cli import health

STATES = {"ok", "note", "fail"}


def answer(name):
    return next(each for each in health.examine() if each.name == name)


def test_a_machine_that_runs_the_tests_is_fit(fedretune):
    result = fedretune("doctor", "--json")
    answers = json.loads(result.out)
    assert result.code == 0, result.err
    assert {each["state"] for each in answers} <= {"ok", "note"}
    names = [each["name"] for each in answers]
    assert names[:3] == ["python", "packages", "processor"]
    assert all(name in result.err for name in names)


def test_what_cannot_be_found_out_stops_no_other_question(fedretune, monkeypatch):
    def broken():
        raise RuntimeError("no such driver")

    monkeypatch.setattr(health, "_device", broken)
    result = fedretune("doctor", "--json")
    answers = {each["name"]: each for each in json.loads(result.out)}
    assert result.code == 2
    assert answers["device"]["state"] == "fail"
    assert "no such driver" in answers["device"]["detail"]
    assert "left over" in answers


def test_a_package_of_another_version_and_one_that_is_missing_are_named(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "flwr":
            return "1.2.0"
        if name == "safetensors":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    state, detail = health._packages()
    assert state == "fail"
    assert "flwr is 1.2.0, not" in detail
    assert "safetensors is missing" in detail


def test_flowers_programs_that_are_not_there_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    state, detail = health._flower()
    assert (state, "flower-superlink" in detail) == ("fail", True)


def test_a_port_in_use_is_told_with_who_would_want_it(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(health, "PORTS", {port: "somebody"})
        assert answer("ports").detail.startswith(f"in use: {port} (for somebody)")
    assert answer("ports").detail == f"{port} are free"


def test_the_cache_is_told_by_its_parts(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path / "cache"))
    assert "is empty" in health._cache()[1]
    (tmp_path / "cache" / "phantoms").mkdir(parents=True)
    (tmp_path / "cache" / "phantoms" / "a.png").write_bytes(b"x" * 2_000_000)
    assert "phantoms 2.0 MB" in health._cache()[1]


def test_a_superlink_that_was_left_over_is_found_in_a_list_of_processes():
    listed = (
        "    1 10:00 /sbin/init\n"
        "   42    01:02 /v/bin/python /v/bin/flower-superlink --insecure\n"
        "   43    01:01 /v/lib/ray/core/raylet --x\n"
        "   44    00:01 grep flower-superlink\n"
        "   45    00:01 vi notes/flower-superlink.md\n"
        "   46    00:01\n"
    )
    assert list(health.left_over(listed)) == [
        (42, "01:02", "flower-superlink"),
        (43, "01:01", "raylet"),
    ]


def test_without_ps_the_others_are_asked_all_the_same(monkeypatch):
    monkeypatch.setenv("PATH", "")
    state, detail = health._left_over()
    assert (state, "ps" in detail) == ("note", True)


@pytest.mark.slow
def test_a_thorough_doctor_starts_ray():
    last = list(health.examine(thorough=True))[-1]
    assert (last.name, last.state) == ("ray", "ok")
