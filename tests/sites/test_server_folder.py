"""The server's folder: certificates that Python's ssl accepts, or refuses, on loopback."""

import json
import socket
import ssl
import stat
import subprocess
import threading
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedretune.errors import UserError
from fedretune.sites import load_site
from fedretune.sites.connection import check_connection
from fedretune.sites.folder import NewSite, init_site
from fedretune.superlink import NewServer, init_server, open_server, write_certificates


@contextmanager
def listening(folder=None, head: bytes = b"HTTP/1.1 200 OK\r\n\r\n", host: str = "127.0.0.1"):
    """Give the port of a server that shows a folder's certificate, or speaks no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if folder:
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
    with socket.create_server((host, 0)) as listener:
        thread = threading.Thread(target=_answer, args=(listener, folder and context, head))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def _answer(listener, context, head):
    connection, _ = listener.accept()
    with connection:
        try:
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            connection.recv(4096)
            connection.sendall(head)
        except OSError:
            pass
        finally:
            connection.close()


@pytest.fixture
def site(tmp_path):
    """From an address and a root certificate to a site."""

    def make(superlink: str, root):
        init_site(tmp_path / "site", NewSite("n", superlink=superlink, root_certificate=str(root)))
        return load_site(tmp_path / "site")

    return make


def made(folder, **values):
    folder.mkdir()
    write_certificates(folder, **{"hosts": (), **values})
    return folder


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_trials_certificate_is_good_for_loopback_and_the_names_given(tmp_path, site, host):
    server = made(tmp_path / "server", hosts=("fed.example.org", "10.1.2.3"))
    with listening(server) as port:
        assert "TLSv1.3" in check_connection(site(f"{host}:{port}", server / "ca.crt"))
    strict = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
    subprocess.run([*strict, server / "ca.crt", server / "server.crt"], check=True)
    text = subprocess.run(
        ["openssl", "x509", "-in", server / "server.crt", "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "DNS:fed.example.org" in text
    assert "IP Address:10.1.2.3" in text
    assert "CA:FALSE" in text


def test_an_expired_certificate_is_refused(tmp_path, site):
    server = made(tmp_path / "server", days=-1)
    with listening(server) as port, pytest.raises(UserError, match=r"has expired.*clock"):
        check_connection(site(f"127.0.0.1:{port}", server / "ca.crt"))


def test_a_certificate_of_another_authority_is_refused(tmp_path, site):
    server, other = made(tmp_path / "server"), made(tmp_path / "other")
    with listening(server) as port, pytest.raises(UserError, match="another authority"):
        check_connection(site(f"127.0.0.1:{port}", other / "ca.crt"))


def test_a_certificate_made_for_other_names_is_refused(tmp_path, site):
    server = made(tmp_path / "server")
    with listening(server, host="127.0.0.2") as port, pytest.raises(UserError, match="other names"):
        check_connection(site(f"127.0.0.2:{port}", server / "ca.crt"))


def test_a_server_without_tls_is_refused(tmp_path, site):
    server = made(tmp_path / "server")
    with listening() as port, pytest.raises(UserError, match="not with TLS"):
        check_connection(site(f"127.0.0.1:{port}", server / "ca.crt"))


def test_a_clock_that_is_wrong_is_told(tmp_path, site):
    server = made(tmp_path / "server")
    head = b"HTTP/1.1 200 OK\r\ndate: Wed, 25 Nov 2020 10:00:00 GMT\r\n\r\n"
    with listening(server, head) as port, pytest.raises(UserError, match=r"clock.*NTP"):
        check_connection(site(f"127.0.0.1:{port}", server / "ca.crt"))


def test_no_server_no_host_and_no_certificate_are_told_apart(tmp_path, site):
    server = made(tmp_path / "server")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UserError, match="is the server up"):
        check_connection(site(f"127.0.0.1:{port}", server / "ca.crt"))
    gone = load_site(tmp_path / "site").model_copy(update={"superlink": "no-such-host.invalid:1"})
    with pytest.raises(UserError, match="no host 'no-such-host"):
        check_connection(gone)
    bare = gone.model_copy(update={"root_certificate": tmp_path / "none"})
    with pytest.raises(UserError, match="no root certificate"):
        check_connection(bare)
    (tmp_path / "torn").write_text("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(UserError, match="no PEM certificate"):
        check_connection(gone.model_copy(update={"root_certificate": tmp_path / "torn"}))


def test_a_servers_folder_has_its_certificates_and_a_connection_of_its_own(fedretune, tmp_path):
    folder = tmp_path / "server"
    done = fedretune("server", "init", folder, "--bind", "0.0.0.0", "--port", 9443, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told == {
        "address": "127.0.0.1:9443",
        "root_certificate": str(folder / "ca.crt"),
        "start": str(folder / "start.sh"),
    }
    assert all(Path(told[each]).is_file() for each in ("root_certificate", "start"))
    assert stat.S_IMODE((folder / "server.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    config = tomllib.loads((folder / "flower" / "config.toml").read_text())
    own = {"address": "127.0.0.1:9443", "root-certificates": str(folder / "ca.crt")}
    assert config == {"superlink": {"default": "fedretune", "fedretune": own}}
    server = open_server(folder)
    assert server.environment["FLWR_HOME"] == str(folder / "flower")
    subprocess.run(["sh", "-n", folder / "start.sh"], check=True)
    script = (folder / "start.sh").read_text()
    for part in ("--enable-supernode-auth", "--host 0.0.0.0", "--database", "TELEMETRY_ENABLED=0"):
        assert part in script
    assert "--insecure" not in script


def test_a_servers_folder_is_never_overwritten(refused, tmp_path):
    init_server(tmp_path / "server", NewServer())
    assert "not an empty folder" in refused("server", "init", tmp_path / "server")


@pytest.mark.parametrize("command", ["admit", "sites", "run"])
def test_a_folder_that_is_no_servers_is_refused(refused, tmp_path, command):
    extra = {"admit": ["key.pub", "--name", "n"], "sites": [], "run": []}[command]
    assert "no server's folder" in refused("server", command, tmp_path / "none", *extra)


def test_a_key_that_is_not_there_is_not_admitted(refused, tmp_path):
    init_server(tmp_path / "server", NewServer())
    said = refused("server", "admit", tmp_path / "server", tmp_path / "k.pub", "--name", "n")
    assert "no public key" in said


@pytest.mark.parametrize(("flags", "out"), [([], ""), (["--json"], {"name": "n", "node": "17"})])
def test_what_was_admitted_is_told_to_people_and_on_request_to_machines(
    fedretune, monkeypatch, tmp_path, flags, out
):
    init_server(tmp_path / "server", NewServer())
    monkeypatch.setattr("fedretune.cli.superlink.admit_key", lambda server, key, name: "17")
    done = fedretune("server", "admit", tmp_path / "server", "k.pub", "--name", "n", *flags)
    assert (done.code, done.err) == (0, "Admitted n, node 17.")
    assert (json.loads(done.out) if done.out else "") == out


@pytest.mark.parametrize(("option", "value"), [("manifest", "/x.csv"), ("backbone", "other")])
def test_a_run_across_hospitals_names_no_data_and_no_backbone(refused, tmp_path, option, value):
    init_server(tmp_path / "server", NewServer())
    said = refused("server", "run", tmp_path / "server", "--set", f"{option}={value}")
    assert "each hospital names its own" in said
