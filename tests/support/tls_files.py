"""Certificates of every kind, made in this process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


class Made(NamedTuple):
    """A certificate with its key, and the files that hold them."""

    cert: Path
    key: Path
    certificate: x509.Certificate
    private_key: CertificateIssuerPrivateKeyTypes

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


def make(
    directory: Path,
    name: str,
    *,
    signed_by: Made | None = None,
    days: float = 2,
    common_name: str | None = None,
    names: tuple[x509.GeneralName, ...] = (),
    authority: bool = False,
    passphrase: bytes | None = None,
    bits: int = 0,
) -> Made:
    """A certificate for 127.0.0.1, valid until ``days`` from now (negative: expired since); of RSA with ``bits``."""
    key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or name)])
    now = datetime.now(UTC)
    alternatives = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), *names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signed_by.certificate.subject if signed_by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(alternatives, critical=False)
        .add_extension(
            x509.BasicConstraints(ca=authority or signed_by is None, path_length=None), critical=True
        )
    )
    made = builder.sign(signed_by.private_key if signed_by else key, hashes.SHA256())
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    cert_file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(PEM))
    key_file.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption))
    return Made(cert_file, key_file, made, key)
