"""A proxy between a hospital and the server that speaks TLS with both, and keeps what it sees."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Seen:
    """Every byte that passed: `up` to the server, `down` to the hospital."""

    port: int
    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)


@contextmanager
def proxy(server: Path, port: int) -> Iterator[Seen]:
    """Listen in front of a SuperLink with its own certificate, which a test may have."""
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(server / "server.crt", server / "server.key")
    outside = ssl.create_default_context(cafile=server / "ca.crt")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen = Seen(listener.getsockname()[1])

        def serve() -> None:
            with suppress(OSError):
                while True:
                    raw, _ = listener.accept()
                    threading.Thread(target=pass_on, args=(raw,), daemon=True).start()

        def pass_on(raw: socket.socket) -> None:
            with suppress(OSError), inside.wrap_socket(raw, server_side=True) as hospital:
                plain = socket.create_connection(("127.0.0.1", port))
                with outside.wrap_socket(plain, server_hostname="127.0.0.1") as link:
                    back = threading.Thread(target=copy, args=(link, hospital, seen.down))
                    back.start()
                    copy(hospital, link, seen.up)
                    back.join()

        threading.Thread(target=serve, daemon=True).start()
        yield seen


def copy(source: ssl.SSLSocket, target: ssl.SSLSocket, kept: bytearray) -> None:
    """Pass on what comes until there is no more."""
    with suppress(OSError):
        while data := source.recv(2**16):
            kept += data
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
