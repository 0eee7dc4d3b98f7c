"""The hub's own certificate: machines that join know the hub by it, whatever its address is."""

import base64
import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Clocks of home machines differ: one that is a year behind still finds it valid.
VALID_SINCE = timedelta(days=365)
# Machines that joined trust this very certificate, so a new one would shut them all out.
VALID_FOR = timedelta(days=365 * 30)
NAME = "labdash"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate with its key in one file, readable to its owner alone.

    ``pin`` is what ``curl --pinnedpubkey`` takes: base64 of the SHA-256 of the public key's
    SubjectPublicKeyInfo (RFC 7469, 2.4). ``fingerprint`` is the SHA-256 of the whole certificate
    in DER, in hex: what Python's standard library can check.
    """

    path: Path
    pem: str
    pin: str
    fingerprint: str


def own_certificate(folder: Path) -> Certificate:
    """Return the certificate in ``folder``, made when there is none. Raises ``OSError``."""
    path = folder / "hub.pem"
    if not path.is_file():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(path, _make())
    return _read(path)


def _make() -> bytes:
    """Make key and certificate, both in PEM.

    It signs itself and is an authority for itself alone, with the identifiers that OpenSSL asks
    for in its strict mode (the default of Python 3.13).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID_SINCE)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_once(path: Path, text: bytes) -> None:
    """Write a file whole or not at all; where another process was first, its file stays."""
    with tempfile.NamedTemporaryFile(dir=path.parent) as draft:
        draft.write(text)
        draft.flush()
        with contextlib.suppress(FileExistsError):
            os.link(draft.name, path)


def _read(path: Path) -> Certificate:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Certificate(
        path=path,
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        pin=base64.b64encode(hashlib.sha256(key).digest()).decode(),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
    )
