"""Certificates for servers on loopback, made with openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="certificates are made with openssl"
)
_NEW_KEY = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"


def certificate(directory: Path, name: str, *signed_by: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, self-signed or signed by another one in the directory."""
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    command = ["openssl", "req", *_NEW_KEY.split()]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    # Python 3.13 requires it, also in a self-signed certificate.
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command += ["-keyout", str(key), "-out", str(cert)]
    for authority in signed_by:
        command += ["-CA", str(directory / f"{authority}.pem"), "-CAkey", str(directory / f"{authority}.key")]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key
