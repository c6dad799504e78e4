"""A certificate for the gateway that a load test starts: what clients cost that come over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mdstream.bench.setup import Setup

HOST: Final = "127.0.0.1"
LASTS: Final = timedelta(days=1)


@contextmanager
def with_own_certificate(setup: Setup) -> Iterator[Setup]:
    """The setup whose gateway has a new certificate, which the connections trust; its key is removed afterwards."""
    certificate, key = new_certificate()
    with TemporaryDirectory(prefix="mdstream-bench-") as folder:
        cert_file, key_file = Path(folder) / "bench.pem", Path(folder) / "bench.key"
        cert_file.write_bytes(certificate)
        key_file.touch(0o600)
        key_file.write_bytes(key)
        arguments = (*setup.server_args, "--tls-cert", str(cert_file), "--tls-key", str(key_file))
        yield replace(setup, ca=str(cert_file), server_args=arguments)


def new_certificate() -> tuple[bytes, bytes]:
    """A certificate for loopback, signed by itself, with ECDSA on P-256 as most servers have it; and its key. Both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mdstream bench")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LASTS)
        .not_valid_after(now + LASTS)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), private
