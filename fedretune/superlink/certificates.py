"""An authority and a server's certificate of our own, for tests and trials.

For a real federation the hospital's or the university's authority signs; see docs/deploy.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedretune.sites.keys import write_private

AUTHORITY, CERTIFICATE, KEY = "ca.crt", "server.crt", "server.key"
#: Days for which they hold; an hour before, since clocks differ.
DAYS, LEEWAY = 397, timedelta(hours=1)

_CA_USE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def write_certificates(folder: Path, hosts: Sequence[str], days: int = DAYS) -> None:
    """Write ``ca.crt``, ``server.crt`` and ``server.key`` for a server of these names.

    The authority's key is not kept: it signs this one certificate and no other.

    Parameters
    ----------
    folder : Path
        Where none of them is.
    hosts : sequence of str
        Names and IP addresses; 127.0.0.1, ::1 and localhost are always among them.
    days : int (default: `DAYS`)
        How long they hold; a certificate of 0 days or less is one that has expired.

    Raises
    ------
    OSError
        One is there, or the folder cannot be written.
    ValueError
        A name is no host's.
    """
    until = datetime.now(UTC) + timedelta(days=days)
    authority = _authority(until)
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = _signed(authority, key.public_key(), hosts, until)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(folder / KEY, pem)
    for name, each in ((AUTHORITY, authority.certificate), (CERTIFICATE, certificate)):
        (folder / name).write_bytes(each.public_bytes(Encoding.PEM))


def _authority(until: datetime) -> _Authority:
    key = ec.generate_private_key(ec.SECP384R1())
    name = _name("FedRETune trial authority")
    certificate = (
        _begun(name, name, key.public_key(), until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USE, critical=True)
        .sign(key, hashes.SHA384())
    )
    return _Authority(key, certificate)


def _signed(
    authority: _Authority,
    public_key: ec.EllipticCurvePublicKey,
    hosts: Sequence[str],
    until: datetime,
) -> x509.Certificate:
    names = [_host(each) for each in dict.fromkeys(["127.0.0.1", "::1", "localhost", *hosts])]
    issuer = authority.certificate.subject
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    serves = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        _begun(_name("FedRETune SuperLink"), issuer, public_key, until)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(serves, critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(authority.key, hashes.SHA384())
    )


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    until: datetime,
) -> x509.CertificateBuilder:
    since = min(datetime.now(UTC), until) - LEEWAY
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
