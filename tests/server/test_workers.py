"""Sites that are shared among processes: the same bytes, and no run lost with a process."""

import os
import signal
import subprocess
import sys
import time

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

import clients.app
import server.simulator
from fedretune.cli.processes import alive
from fedretune.errors import UserError
from tests.run_folders import adaptors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks safely")


def test_any_number_of_workers_gives_the_same_bytes(synthetic_run):
    folders = [synthetic_run(f"w{count}", workers=count)[0] for count in (1, 2, 3, 9)]
    assert len({adaptors(folder) for folder in folders}) == 1
    for table in ("auroc.csv", "traffic.csv", "sites.csv"):
        assert len({(folder / table).read_bytes() for folder in folders}) == 1


def test_what_a_site_remembers_is_there_whichever_process_it_is_in(synthetic_run):
    settings = {"method": "ewc", "experiences": 3}
    (alone, _), (shared, _) = (
        synthetic_run(f"w{count}", workers=count, **settings) for count in (1, 3)
    )
    assert adaptors(alone) == adaptors(shared)


def counting(message, context):
    """Answer how often this node was asked, kept in its context, and by which process."""
    count = int(str(context.state.config_records.get("seen", {"times": 0})["times"])) + 1
    context.state["seen"] = ConfigRecord({"times": count})
    content = RecordDict({"answer": ConfigRecord({"times": count, "process": os.getpid()})})
    return Message(content, reply_to=message)


def test_a_nodes_state_follows_it_from_process_to_process():
    said = []

    def asking(grid, context):
        for _ in range(5):
            messages = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
            replies = grid.send_and_receive(messages)
            said.append([dict(each.content["answer"]) for each in replies])

    server.simulator.simulate(asking, counting, {}, 4, workers=2)
    assert [[each["times"] for each in round_] for round_ in said] == [[n] * 4 for n in range(1, 6)]
    processes = {each["process"] for round_ in said for each in round_}
    assert os.getpid() in processes  # the very first, so that there is something to share
    assert 2 <= len(processes) <= 3


def test_a_worker_ended_from_outside_stops_the_run_with_advice_and_loses_nothing(
    synthetic_run, finished
):
    def dying(message, context):
        if context.node_id == 2 and message.metadata.message_type == "train":
            os.kill(os.getpid(), signal.SIGKILL)
        return clients.app.app(message, context)

    with pytest.raises(UserError, match="--resume"):
        synthetic_run("killed", client_app=dying, workers=2)
    whole, _ = finished()
    folder, summary = synthetic_run("killed", resume=True)
    assert summary["status"] == "complete"
    assert adaptors(folder) == adaptors(whole)


STUCK = """
import os, sys, time
from flwr.app import Message, RecordDict
from server.simulator import simulate

def stuck(message, context):
    if context.node_id > 1:
        print(os.getpid(), flush=True)
        time.sleep(600)
    return Message(RecordDict(), reply_to=message)

def ask(grid, context):
    grid.send_and_receive([Message(RecordDict(), node, "query") for node in grid.get_node_ids()])

simulate(ask, stuck, {}, 3, workers=2)
"""


def test_workers_end_with_a_killed_parent():
    parent = subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while (left := {pid for pid, _, _ in alive()} & set(workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == set()


THREADED = """
import torch
from flwr.app import Message, RecordDict
from server.simulator import simulate

torch.set_num_threads(2)

def work(message, context):
    torch.randn(600, 600) @ torch.randn(600, 600)
    torch.nn.functional.normalize(torch.randn(40_000, 128), dim=-1)
    return Message(RecordDict(), reply_to=message)

def ask(grid, context):
    messages = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    print(len(list(grid.send_and_receive(messages))))

simulate(ask, work, {}, 4, workers=2)
"""


def test_workers_of_a_process_that_has_used_threads_do_not_wait_for_them():
    done = subprocess.run(
        [sys.executable, "-c", THREADED], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "4", done.stderr
