"""The warm process: what it runs is run as its caller would run it, and nothing is left behind."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedretune.sites.folder import WARM_MODULES, NewSite, init_site

PATIENCE = 30.0

SCRIPT = """
import json, os, sys, time
print("to stderr", file=sys.stderr)
told = {"words": sys.argv[1:], "mine": os.environ.get("MINE"), "folder": os.getcwd(),
        "read": sys.stdin.read(), "pid": os.getpid(), "parent": os.getppid()}
print(json.dumps(told), flush=True)
if "wait" in sys.argv:
    time.sleep(60)
sys.exit(7)
"""


def wait(until) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def site(tmp_path) -> Path:
    """A site's folder, whose flwr-clientapp runs a script of the test's in Flower's place."""
    if not Path("/proc/self/stat").is_file():
        pytest.skip("needs /proc to see which processes are left")
    folder = tmp_path / ("a long name of a hospital " * 5).strip() / "north"
    init_site(folder, NewSite("north"))
    shim = folder / "bin" / "flwr-clientapp"
    before = shim.read_text().partition("import hashlib")[0]
    shim.write_text(before + SCRIPT)
    return folder


@pytest.fixture
def warm(site):
    command = [sys.executable, "-m", "fedretune.sites.warm", "warm.socket", "json"]
    process = subprocess.Popen(command, cwd=site)
    wait(lambda: (site / "warm.socket").exists())
    yield process
    process.kill()
    process.wait()


def call(site: Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [site / "bin" / "flwr-clientapp", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=site.parent,
        env={**os.environ, **environment},
    )


def test_a_script_has_its_callers_words_environment_folder_files_and_exit_code(site, warm):
    caller = call(site, "--one", "2", MINE="yes")
    out, err = caller.communicate("said", timeout=PATIENCE)
    told = json.loads(out)
    assert told["parent"] == warm.pid
    assert (told["words"], told["mine"], told["read"]) == (["--one", "2"], "yes", "said")
    assert (told["folder"], err.strip(), caller.returncode) == (
        str(site.parent),
        "to stderr",
        7,
    )


@pytest.mark.parametrize(
    ("ending", "code"), [("raise ValueError('broken')", 1), ("sys.exit('said')", 1), ("pass", 0)]
)
def test_a_script_that_ends_otherwise_has_the_exit_code_that_python_gives(site, warm, ending, code):
    shim = site / "bin" / "flwr-clientapp"
    shim.write_text(shim.read_text().replace("sys.exit(7)", ending))
    caller = call(site)
    _, err = caller.communicate("", timeout=PATIENCE)
    assert caller.returncode == code
    assert ("broken" in err) == ("broken" in ending)


def test_without_a_warm_process_it_runs_by_itself_to_the_same_end(site):
    caller = call(site, "x", MINE="yes")
    out, _ = caller.communicate("said", timeout=PATIENCE)
    told = json.loads(out)
    assert (told["pid"], told["words"], caller.returncode) == (caller.pid, ["x"], 7)


def test_a_warm_process_that_was_killed_is_done_without(site, warm):
    warm.kill()
    warm.wait()
    assert (site / "warm.socket").exists()
    caller = call(site)
    out, _ = caller.communicate("", timeout=PATIENCE)
    assert json.loads(out)["pid"] == caller.pid


def test_a_caller_that_is_killed_takes_its_process_with_it(site, warm):
    caller = call(site, "wait")
    caller.stdin.close()
    child = json.loads(caller.stdout.readline())["pid"]
    assert alive(child)
    caller.kill()
    wait(lambda: not alive(child))
    assert alive(warm.pid)


def test_several_run_at_once_and_a_stranger_who_says_nonsense_stops_none(site, warm):
    slow = call(site, "wait")
    slow.stdin.close()
    json.loads(slow.stdout.readline())
    for nonsense in (b"", b"\xff\xff\xff\xff", b"\x00\x00\x00\x02{}"):
        with socket.socket(socket.AF_UNIX) as stranger:
            _connect(stranger, site)
            stranger.sendall(nonsense)
    quick = call(site)
    assert json.loads(quick.communicate("", timeout=PATIENCE)[0])["parent"] == warm.pid
    slow.kill()


def _connect(stranger: socket.socket, site: Path) -> None:
    folder = os.open(site, os.O_RDONLY)
    try:
        stranger.connect(f"/proc/self/fd/{folder}/warm.socket")
    finally:
        os.close(folder)


def test_only_this_user_may_write_to_the_socket(site, warm):
    assert stat.S_IMODE((site / "warm.socket").stat().st_mode) == 0o600


def test_it_ends_with_the_process_that_started_it_and_takes_the_socket_away(site):
    command = [sys.executable, "-m", "fedretune.sites.warm", "warm.socket"]
    starter = subprocess.Popen(
        ["sh", "-c", f"{' '.join(command)} & echo $!; read nothing"],
        cwd=site,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process = int(starter.stdout.readline())
    wait(lambda: (site / "warm.socket").exists())
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    wait(lambda: not alive(process))
    assert not (site / "warm.socket").exists()


def test_what_it_imports_is_nothing_of_a_bundle_and_starts_no_thread():
    code = (
        f"import sys, threading\nfor each in {WARM_MODULES!r}: __import__(each)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert not {'clients', 'server', 'scenarios'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
