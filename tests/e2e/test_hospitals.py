"""Hospitals and a server as real processes over TLS: what they learn, refuse and survive."""

import csv
import http.client
import json
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedretune.data.phantoms import write
from fedretune.sites.folder import NewSite, init_site
from fedretune.superlink import write_certificates
from tests.backbones.tiny import write_folder
from tests.e2e.deployment import SCRIPTS, deployed, free_port, wait
from tests.e2e.proxy import proxy

long = pytest.mark.long

NAMES = ("site-1", "site-2", "site-3")


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    """Three hospitals that are online."""
    root = tmp_path_factory.mktemp("federation")
    manifest = write(root / "phantoms", patients=45, sites=3, seed=1, size=64)
    backbone = f"local-dir:{write_folder(root / 'backbone')}"
    with deployed(root / "folders", manifest, backbone) as made:
        made.start_server()
        for name in NAMES:
            made.admit(name)
            made.start(name)
        made.wait_online(len(NAMES))
        yield made


@pytest.fixture(scope="module")
def ran(federation):
    """A run of two experiences of two rounds that nothing disturbed: its folder."""
    done = federation.run(sites=3, experiences=2, rounds=2, name="undisturbed")
    assert done.returncode == 0, done.stderr
    return federation.root / "runs" / "undisturbed"


def statuses(folder):
    """Return (site, status, reason) of each row of ``sites.csv`` but the ordinary ones."""
    with (folder / "sites.csv").open(newline="") as file:
        rows = [(row["site"], row["status"], row["reason"]) for row in csv.DictReader(file)]
    return [row for row in rows if row[1] not in ("joined", "trained")]


def events(folder, kind):
    """Return a run's events of a kind so far."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [each for each in map(json.loads, lines) if each["event"] == kind]


@long
def test_three_hospitals_end_byte_for_byte_where_a_simulation_does(federation, ran):
    options = {
        "manifest": federation.manifest,
        "backbone": federation.backbone,
        "experiences": 2,
        "rounds": 2,
        "out": federation.root / "runs",
        "name": "simulated",
        "set": "arrival=date",
    }
    words = [f"--{key}={value}" for key, value in options.items()]
    subprocess.run([SCRIPTS / "fedretune", "simulate", *words], check=True, capture_output=True)
    simulated = ran.parent / "simulated"
    ours, theirs = (load_file(each / "adaptors.safetensors") for each in (ran, simulated))
    assert {name: each.tobytes() for name, each in ours.items()} == {
        name: each.tobytes() for name, each in theirs.items()
    }
    for table in ("auroc.csv", "measures.csv", "findings.csv"):
        assert (ran / table).read_bytes() == (simulated / table).read_bytes()
    assert statuses(ran) == []
    for name in NAMES:  # each has its own ledger, with a line a reply
        left = (federation.site(name) / "memory" / "left.csv").read_text()
        assert left.count(",train,") == 4


@long
def test_a_run_is_interrupted_at_the_superlink_too_and_the_command_that_it_tells_goes_on(
    federation, ran
):
    options = {"sites": 3, "experiences": 2, "rounds": 2, "name": "interrupted"}
    process = federation.begin(**options)
    folder = federation.root / "runs" / "interrupted"
    wait(lambda: events(folder, "round"), "a round")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in err
    assert not (folder / "summary.json").exists()
    again = federation.run(**options, flags=["--resume"])
    assert again.returncode == 0, again.stderr
    ended = [(each / "adaptors.safetensors").read_bytes() for each in (folder, ran)]
    assert ended[0] == ended[1]


@long
def test_hospitals_sum_securely_each_message_in_a_process_of_its_own(federation):
    for name in NAMES:
        federation.change(name, "policy.toml", secure_aggregation="required")
    options = {"sites": 3, "experiences": 1, "rounds": 2}
    values = ["secure-aggregation=true"]
    done = federation.run(**options, name="summed", set=values)
    plain = federation.run(**options, name="declined")
    for name in NAMES:
        federation.change(name, "policy.toml", secure_aggregation="allowed")
    assert done.returncode == 0, done.stderr
    assert plain.returncode == 1
    options |= {"manifest": federation.manifest, "backbone": federation.backbone}
    options |= {"out": federation.root / "runs", "name": "summed-here"}
    words = [f"--{key}={value}" for key, value in options.items()]
    words += [f"--set={each}" for each in (*values, "arrival=date")]
    subprocess.run([SCRIPTS / "fedretune", "simulate", *words], check=True, capture_output=True)
    folders = [federation.root / "runs" / name for name in ("summed", "summed-here")]
    ours, theirs = (load_file(each / "adaptors.safetensors") for each in folders)
    assert {name: each.tobytes() for name, each in ours.items()} == {
        name: each.tobytes() for name, each in theirs.items()
    }
    for name in NAMES:
        memory = federation.site(name) / "memory" / "runs" / "summed" / "memory"
        assert [path.name for path in memory.rglob("*.json")] == ["unmasked.json"]


@long
@pytest.mark.parametrize(
    ("policy", "before", "reason"),
    [
        ({"methods": ["ewc"]}, {"methods": ["retune"]}, "no method 'retune'"),
        ({"epsilon": 0.5}, {"epsilon": 0.0}, "an epsilon of at most 0.5"),
        ({"smallest_shard": 10_000}, {"smallest_shard": 0}, "at least 10000 images"),
    ],
    ids=["method", "epsilon", "shard"],
)
def test_a_hospital_declines_with_the_reason_and_the_others_go_on(
    federation, policy, before, reason
):
    name = f"policy-{reason.split()[-1].strip(chr(39))}"
    federation.change("site-2", "policy.toml", **policy)
    done = federation.run(sites=3, experiences=1, rounds=1, name=name)
    federation.change("site-2", "policy.toml", **before)
    assert done.returncode == 0, done.stderr
    told = statuses(federation.root / "runs" / name)
    assert told
    assert {status for _, status, _ in told} == {"refused"}
    assert all(reason in why and "site-2 declines" in why for _, _, why in told)
    (round_,) = events(federation.root / "runs" / name, "round")
    assert round_["sites"] == 2


@long
def test_a_hospital_that_is_killed_in_a_round_is_done_without_and_taken_back(federation):
    options = {"sites": 3, "experiences": 4, "rounds": 2, "name": "killed"}
    process = federation.begin(**options, set=["round-timeout=20"])
    folder = federation.root / "runs" / "killed"
    wait(lambda: events(folder, "round"), "a round")
    federation.stop("site-3", signal.SIGKILL)
    federation.come_back("site-3")
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    told = statuses(folder)
    assert ("site-3", "silent", "no reply within 20 s") in told
    assert {site for site, *_ in told} == {"site-3"}
    taking_part = [each["sites"] for each in events(folder, "round")]
    assert (taking_part[0], min(taking_part), taking_part[-1]) == (3, 2, 3)


@long
def test_a_superlink_killed_and_restarted_on_its_database_lets_the_run_go_on_to_the_same_bytes(
    federation, ran
):
    options = {"sites": 3, "experiences": 2, "rounds": 2, "name": "outlived"}
    process = federation.begin(**options)
    folder = federation.root / "runs" / "outlived"
    wait(lambda: events(folder, "round"), "a round")
    federation.stop("server", signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    federation.start_server()
    federation.wait_online(len(NAMES))
    again = federation.run(**options, flags=["--resume"])
    assert again.returncode == 0, again.stderr
    ended = [(each / "adaptors.safetensors").read_bytes() for each in (folder, ran)]
    assert ended[0] == ended[1]


@long
def test_a_hospital_that_calls_itself_another_is_put_aside(federation):
    """Its SuperNode is let in, with its own key; its name is not."""
    path = federation.site("site-3") / "site.toml"
    own = path.read_text()
    path.write_text(own.replace('name = "site-3"', 'name = "site-1"'))
    done = federation.run(sites=3, experiences=1, method="zero-shot", name="called")
    path.write_text(own)
    assert done.returncode == 0, done.stderr
    ((node, status, why),) = statuses(federation.root / "runs" / "called")
    assert (node.split()[0], status) == ("node", "aside")
    assert why == "it does not sign with the key that was admitted as 'site-1'"


@long
def test_a_key_that_nobody_admitted_is_refused(federation, tmp_path):
    stranger = federation.site("stranger")
    new = NewSite("stranger", superlink=f"127.0.0.1:{federation.port}", port=free_port())
    init_site(stranger, new)
    (stranger / "ca.crt").write_bytes((federation.root / "server" / "ca.crt").read_bytes())
    federation.start("stranger")
    process = federation.processes.pop("stranger")
    assert process.wait(60) != 0
    assert "not registered" in federation.log("stranger") or "305" in federation.log("stranger")
    assert federation.online() == len(NAMES)


@long
def test_plain_http_is_refused(federation):
    caller = http.client.HTTPConnection("127.0.0.1", federation.port, timeout=10)
    caller.connect()
    with suppress(OSError):
        caller.request("GET", "/health")
    with pytest.raises((http.client.HTTPException, OSError)):
        caller.getresponse()
    caller.close()


@long
@pytest.mark.parametrize("which", ["expired", "foreign"])
def test_a_certificate_that_is_expired_or_foreign_is_refused(federation, tmp_path, which):
    """The hospital does not speak with such a server at all."""
    name = NAMES[0]
    authority = federation.site(name) / "ca.crt"
    before = authority.read_bytes()
    write_certificates(tmp_path, [], **({"days": -1} if which == "expired" else {}))
    authority.write_bytes((tmp_path / "ca.crt").read_bytes())
    try:
        words = ["site", "check", federation.site(name), "--json"]
        done = subprocess.run(
            [SCRIPTS / "fedretune", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "certificate" in done.stdout
    finally:
        authority.write_bytes(before)


@long
def test_adaptors_are_nearly_all_that_passes_and_no_image_or_vector_is_in_it(tmp_path_factory):
    root = tmp_path_factory.mktemp("watched")
    manifest = write(root / "phantoms", patients=30, sites=2, seed=1, size=64)
    with deployed(root / "folders", manifest, "phantom-clip") as made:
        made.start_server()
        with proxy(made.root / "server", made.port) as seen:
            start = made.site("site-1") / "start.sh"
            text = start.read_text().replace(f"127.0.0.1:{made.port}", f"127.0.0.1:{seen.port}")
            start.write_text(text)
            for name in ("site-1", "site-2"):
                made.admit(name)
                made.start(name)
            made.wait_online(2)
            marks = []
            process = made.begin(sites=2, experiences=1, rounds=4, name="watched")
            folder = made.root / "runs" / "watched"
            while process.poll() is None:
                rounds = len(events(folder, "round"))
                if rounds > len(marks):
                    marks.append((len(seen.up), len(seen.down)))
                time.sleep(0.05)
            _, err = process.communicate()
            assert process.returncode == 0, err
        adaptor = sum(each.nbytes for each in load_file(folder / "adaptors.safetensors").values())
        assert len(marks) == 4
        passed = np.diff(np.array(marks), axis=0)
        assert (passed.mean(0) >= 0.9 * adaptor).all(), (passed, adaptor)
        assert (passed.mean(0) <= 1.1 * adaptor).all(), (passed, adaptor)
        everything = bytes(seen.up + seen.down)
        assert sorted(load_file(folder / "adaptors.safetensors")) != []
        for planted in planted_in(made):
            assert planted not in everything


def planted_in(made):
    """Yield bytes of each image file and of each vector of the hospital that was watched."""
    table = (made.root / "site-1.csv").read_text().splitlines()[1:]
    for row in table:
        content = open(row.split(",")[0], "rb").read()  # noqa: SIM115, PTH123
        yield content[len(content) // 2 :][:32]
    stores = list((made.site("site-1") / "cache").rglob("*.f16")) or [
        path for path in (made.site("site-1") / "cache").rglob("*") if path.stat().st_size > 20_000
    ]
    assert stores
    for store in stores:
        vectors = store.read_bytes()
        for start in range(4096, len(vectors) - 32, 256):
            if any(vectors[start : start + 32]):
                yield vectors[start : start + 32]


@pytest.mark.slow
def test_when_all_have_been_stopped_no_process_port_or_socket_is_left(tmp_path_factory):
    with _alone(tmp_path_factory) as made:
        done = made.run(sites=1, experiences=1, rounds=1, name="done")
        assert done.returncode == 0, done.stderr


@long
def test_after_a_run_that_failed_no_process_port_or_socket_is_left_either(tmp_path_factory):
    with _alone(tmp_path_factory) as made:
        failed = made.run(sites=1, experiences=900, name="failed")  # too few patients for it
        assert failed.returncode != 0


@contextmanager
def _alone(tmp_path_factory):
    """Give a federation of one site; stop it, and see that nothing of it is left."""
    root = tmp_path_factory.mktemp("stopped")
    manifest = write(root / "phantoms", patients=20, sites=1, seed=1, size=64)
    backbone = f"local-dir:{write_folder(root / 'backbone')}"
    with deployed(root / "folders", manifest, backbone) as made:
        made.start_server()
        made.admit("site-1")
        made.start("site-1")
        made.wait_online(1)
        yield made
        made.stop("site-1", signal.SIGINT)
        made.stop("server")
        wait(lambda: not made.left(), "all have ended", 20)
        assert not (made.site("site-1") / "warm.socket").exists()
        with socket.socket() as caller:
            assert caller.connect_ex(("127.0.0.1", made.port)) != 0
