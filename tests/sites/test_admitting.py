"""Admitting a hospital: its key at the SuperLink, its name and key in the server's own list."""

import shutil
from pathlib import Path

import pytest

import fedretune.cli.superlink as superlink
from fedretune.errors import UserError
from fedretune.identity import fingerprint, read_keys, read_public
from fedretune.sites.keys import write_key_pair
from fedretune.superlink import NewServer, init_server, open_server


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server's folder whose SuperLink takes each key once, as Flower's does."""
    known: set[bytes] = set()

    def flwr(server, *words):
        if words[:2] == ("supernode", "list"):
            return {"nodes": [{"status": "online"}]}
        key = Path(words[2]).read_bytes()
        if key in known:
            raise UserError("The SuperLink does not do that: Public key already in use.. Is it up?")
        known.add(key)
        return {"node-id": len(known)}

    monkeypatch.setattr(superlink, "_flwr", flwr)
    init_server(tmp_path / "server", NewServer())
    for name in ("north", "south"):
        write_key_pair(tmp_path / name, name)
    return open_server(tmp_path / "server")


def run_config(**values):
    return {
        "manifest": "phantoms",
        "backbone": "phantom-clip",
        "privacy.mechanism": "none",
        "sites": 2,
        "admitted": "",
        **values,
    }


def test_a_run_is_told_the_list_of_those_that_were_admitted(server, tmp_path):
    assert superlink.admit_key(server, tmp_path / "north.pub", "north") == "1"
    assert superlink.admit_key(server, tmp_path / "south.pub", "south") == "2"
    config = run_config()
    assert superlink.engine_of(server).prepare(None, config) == 2
    keys = read_keys(Path(config["admitted"]))
    assert {name: fingerprint(key) for name, key in keys.items()} == {
        name: fingerprint(read_public(tmp_path / f"{name}.pub")) for name in ("north", "south")
    }


def test_a_folder_of_before_is_refused_until_its_hospitals_are_admitted_again(server, tmp_path):
    superlink.admit_key(server, tmp_path / "north.pub", "north")
    server.admitted.unlink()
    with pytest.raises(UserError, match=r"made before.*server admit` again"):
        superlink.engine_of(server).prepare(None, run_config())
    assert superlink.admit_key(server, tmp_path / "north.pub", "north") == ""  # it is known
    assert superlink.engine_of(server).prepare(None, run_config()) == 2


def test_a_name_that_has_another_key_is_not_even_registered(server, tmp_path):
    superlink.admit_key(server, tmp_path / "north.pub", "north")
    with pytest.raises(UserError, match="'north' has another key"):
        superlink.admit_key(server, tmp_path / "south.pub", "north")
    shutil.copy(tmp_path / "north.pub", tmp_path / "copy.pub")
    with pytest.raises(UserError, match="one key for"):
        superlink.admit_key(server, tmp_path / "copy.pub", "south")
    assert superlink.admit_key(server, tmp_path / "south.pub", "south") == "2"


def test_what_is_no_name_no_key_or_no_list_of_ones_own_is_refused(server, tmp_path):
    with pytest.raises(UserError, match="cannot be the name of a site"):
        superlink.admit_key(server, tmp_path / "north.pub", "../north")
    with pytest.raises(UserError, match="sends its"):
        superlink.admit_key(server, tmp_path / "north", "north")
    with pytest.raises(UserError, match="leave it out"):
        superlink.engine_of(server).prepare(None, run_config(admitted="/another/list.toml"))
