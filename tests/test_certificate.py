"""The certificate of serve --tls: a server and a client agree on it, and it stays the same."""

import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from step_audio.cli import certificate
from step_audio.cli.certificate import own_certificate
from step_audio.core.errors import InputError
from tests.fakes import ScriptedEngine, services
from tests.server.loopback import serving


def test_a_client_that_trusts_the_certificate_reaches_the_page(tmp_path: Path) -> None:
    pair = own_certificate("127.0.0.1", tmp_path)
    assert pair.key.stat().st_mode & 0o077 == 0
    with serving(services(ScriptedEngine([])), tls=pair) as port:
        trusting = ssl.create_default_context(cafile=pair.certificate)
        for host in ("127.0.0.1", "localhost"):
            assert httpx.get(f"https://{host}:{port}/", verify=trusting).status_code == 200


def test_the_certificate_is_the_same_next_time_and_another_for_another_host(
    tmp_path: Path,
) -> None:
    first = own_certificate("127.0.0.1", tmp_path).certificate.read_bytes()
    assert own_certificate("127.0.0.1", tmp_path).certificate.read_bytes() == first
    assert own_certificate("192.0.2.7", tmp_path).certificate.read_bytes() != first


def test_it_names_the_addresses_that_other_machines_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "_own_addresses", lambda: {"192.0.2.33"})
    made = own_certificate("0.0.0.0", tmp_path).certificate.read_bytes()
    named = x509.load_pem_x509_certificate(made).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    addresses = {str(one) for one in named.value.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", "192.0.2.33"} <= addresses
    assert "0.0.0.0" not in addresses


def test_a_broken_certificate_is_made_again(tmp_path: Path) -> None:
    pair = own_certificate("127.0.0.1", tmp_path)
    pair.certificate.write_text("no certificate")
    own_certificate("127.0.0.1", tmp_path)
    assert "BEGIN CERTIFICATE" in pair.certificate.read_text()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        own_certificate("127.0.0.1", tmp_path / "file")
