"""Can a site reach its server? A TLS handshake, as its SuperNode will make it."""

import socket
import ssl
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from fedretune.errors import UserError
from fedretune.sites.site_file import SiteFile

#: Seconds that the server may take to answer; seconds that two clocks may differ.
PATIENCE, SKEW = 3.0, 300.0


def check_connection(site: SiteFile) -> str:
    """Return what was found. Raises `UserError` for each way in which it can fail, with its mend.

    A handshake and an unauthenticated question for the server's health: it sends no key.
    """
    context = _context(site.root_certificate)
    host, _, port = site.superlink.rpartition(":")
    host = host.strip("[]")
    try:
        with (
            socket.create_connection((host, int(port)), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.settimeout(PATIENCE)
            clock = _check_clock(_date(connection, host))
            return f"{site.superlink}, {connection.version()}{clock}"
    except ssl.SSLCertVerificationError as error:
        raise UserError(_unverified(site, error)) from error
    except ssl.SSLError as error:
        raise UserError(
            f"{site.superlink} answers, but not with TLS ({error.reason}): is it the SuperLink, "
            "started by its start.sh?"
        ) from error
    except TimeoutError as error:
        raise UserError(
            f"{site.superlink} does not answer within {PATIENCE:.0f} s: is it right in site.toml, "
            "and does the firewall let this machine connect outwards to that port?"
        ) from error
    except socket.gaierror as error:
        raise UserError(f"There is no host '{host}': mend superlink in site.toml.") from error
    except OSError as error:
        raise UserError(
            f"{site.superlink} cannot be reached ({error.strerror or error}): is the server up, "
            "and is superlink in site.toml its address?"
        ) from error


def _context(root: Path) -> ssl.SSLContext:
    if not root.is_file():
        raise UserError(f"There is no root certificate {root}: the server's operator has it.")
    try:
        context = ssl.create_default_context(cafile=str(root))
    except (ssl.SSLError, OSError) as error:
        raise UserError(
            f"{root} is no PEM certificate: have the server's operator send ca.crt again."
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _unverified(site: SiteFile, error: ssl.SSLCertVerificationError) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    mends = {
        "expired": "the server's operator makes a new one; or this machine's clock is wrong",
        "not yet valid": "this machine's clock is wrong, or the server's was",
        "self-signed": "it is signed by another authority than root-certificate in site.toml",
        "unable to get": "it is signed by another authority than root-certificate in site.toml",
        "mismatch": "it is made for other names: mend superlink in site.toml, or have the "
        "certificate made for this one (`fedretune server init --host`)",
    }
    said = error.verify_message
    mend = next((mend for key, mend in mends.items() if key in said), "ask the server's operator")
    return f"{site.superlink} shows a certificate that is refused ({said}, now {now}): {mend}."


def _date(connection: ssl.SSLSocket, host: str) -> datetime | None:
    """Return the server's clock, if it tells one."""
    request = f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode("ascii"))
    head = connection.recv(4096).decode("latin-1")
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "date":
            try:
                return parsedate_to_datetime(value.strip())
            except ValueError:
                return None
    return None


def _check_clock(told: datetime | None) -> str:
    if told is None:
        return ""
    skew = told.timestamp() - time.time()
    if abs(skew) > SKEW:
        raise UserError(
            f"This machine's clock and the server's differ by {abs(skew):,.0f} s: set both by NTP."
        )
    return f", clocks {abs(skew):.0f} s apart"
