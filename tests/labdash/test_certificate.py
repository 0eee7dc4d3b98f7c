"""The hub's certificate, as OpenSSL, curl and Python see it."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509

from labdash.certificate import Certificate, own_certificate

PATIENCE_S = 30


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """A certificate of its own."""
    return own_certificate(tmp_path / "tls")


@contextmanager
def answering(certificate: Certificate) -> Iterator[int]:
    """Answer one request by TLS, and give the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.settimeout(PATIENCE_S)
                try:
                    with context.wrap_socket(client, server_side=True) as secure:
                        secure.recv(1000)
                        secure.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhub")
                except (ssl.SSLError, ConnectionError):
                    return  # the client turned away, as some tests want it to

        thread = threading.Thread(target=answer)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join(PATIENCE_S)


def test_it_stays_the_same_and_is_for_its_owner_alone(certificate: Certificate) -> None:
    assert own_certificate(certificate.path.parent) == certificate
    assert certificate.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in certificate.path.parent.iterdir()] == ["hub.pem"]
    assert "PRIVATE" not in certificate.pem


def test_two_that_make_it_at_once_agree(tmp_path: Path) -> None:
    found: list[Certificate] = []
    makers = [
        threading.Thread(target=lambda: found.append(own_certificate(tmp_path))) for _ in range(4)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(PATIENCE_S)
    assert len(found) == len(makers)
    assert len({each.pin for each in found}) == 1


def test_it_is_valid_on_a_machine_whose_clock_is_a_day_or_years_off(
    certificate: Certificate,
) -> None:
    read = x509.load_pem_x509_certificate(certificate.pem.encode())
    assert read.not_valid_before_utc < datetime.now(UTC) - timedelta(days=300)
    assert read.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3650)


@pytest.mark.parametrize("flags", [ssl.VERIFY_X509_STRICT, ssl.VERIFY_X509_PARTIAL_CHAIN])
def test_who_trusts_it_alone_gets_through(certificate: Certificate, flags: ssl.VerifyFlags) -> None:
    context = ssl.create_default_context(cadata=certificate.pem)
    context.check_hostname = False
    context.verify_flags |= flags
    with (
        answering(certificate) as port,
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client,
        context.wrap_socket(client) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
        secure.sendall(b"x")
    assert shown is not None
    assert sha256(shown).hexdigest() == certificate.fingerprint


def test_who_trusts_another_hub_does_not(certificate: Certificate, tmp_path: Path) -> None:
    other = own_certificate(tmp_path / "other")
    context = ssl.create_default_context(cadata=other.pem)
    context.check_hostname = False
    with (
        answering(certificate) as port,
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(client)


@pytest.mark.parametrize("is_right", [True, False])
def test_curl_takes_the_right_pin_and_no_other(
    certificate: Certificate, tmp_path: Path, *, is_right: bool
) -> None:
    curl = shutil.which("curl")
    assert curl, "these tests need curl"
    pin = certificate.pin if is_right else own_certificate(tmp_path / "other").pin
    with answering(certificate) as port:
        ended = subprocess.run(  # noqa: S603 - curl with our own words
            [
                *(curl, "--silent", "--insecure", "--max-time", str(PATIENCE_S)),
                *("--pinnedpubkey", f"sha256//{pin}", f"https://127.0.0.1:{port}/"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    # 90: "SSL pinned public key does not match" (curl's manual).
    assert (ended.returncode, ended.stdout) == ((0, "hub") if is_right else (90, ""))
