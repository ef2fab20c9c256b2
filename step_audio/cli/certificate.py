"""A self-signed certificate, so that browsers on other machines allow the microphone."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from step_audio.core.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

VALID: Final = timedelta(days=365)
"""Browsers refuse more than 398 days."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Files that a TLS server is given."""

    certificate: Path
    key: Path


def own_certificate(host: str, folder: Path | None = None) -> KeyPair:
    """Return a certificate for this machine, the one of last time while it still holds.

    A browser asks once whether to trust it, and again when it is another one.

    Args:
        host: address that the server listens at; named in the certificate.
        folder: where both files are kept; the user's state folder.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = folder or _state_folder() / "step-audio" / "tls"
    pair = KeyPair(folder / "certificate.pem", folder / "key.pem")
    names = _names(host)
    if _holds(pair, names):
        return pair
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(pair, names)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from None
    return pair


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def _names(host: str) -> frozenset[str]:
    names = {"localhost", "127.0.0.1", "::1", socket.gethostname(), host}
    with suppress(OSError):  # a machine that does not know its own address
        names |= {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)}
    return frozenset((names | _own_addresses()) - {"0.0.0.0", "::", ""})


def _own_addresses() -> set[str]:
    """Return the addresses under which other machines reach this one; nothing is sent."""
    found: set[str] = set()
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # Addresses of documents: a datagram socket only looks up by which way it would go there.
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as datagram:
            datagram.connect((elsewhere, 9))
            found.add(str(datagram.getsockname()[0]))
    return found


def _holds(pair: KeyPair, names: frozenset[str]) -> bool:
    from cryptography import x509  # noqa: PLC0415 - only with --tls

    try:
        known = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        pair.key.read_bytes()
    except (OSError, ValueError):
        return False
    extension = known.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    told = {str(name.value) for name in extension.value}
    return names <= told and known.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1)


def _write(pair: KeyPair, names: frozenset[str]) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _signed(key, names)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pair.key.unlink(missing_ok=True)
    with os.fdopen(os.open(pair.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _signed(key: EllipticCurvePrivateKey, names: frozenset[str]) -> Certificate:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "step-audio")])
    alternatives: list[x509.GeneralName] = []
    for name in sorted(names):
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name.partition("%")[0])))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
