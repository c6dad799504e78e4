"""The form of a request that an API key signs, for both sides; it loads no cryptography."""

from __future__ import annotations

import base64
import binascii
from typing import Final

KEY, TIMESTAMP, NONCE, SIGNATURE = (f"mdstream-{name}" for name in ("key", "timestamp", "nonce", "signature"))
HEADERS: Final = (KEY, TIMESTAMP, NONCE, SIGNATURE)
LEAST_SECRET: Final = 32
"""Bytes of an HMAC's secret: as many as its hash has (RFC 7518 section 3.2)."""


def signing_text(timestamp: str, nonce: str, host: str, target: str, method: str = "GET") -> bytes:
    """What is signed: six lines. ``host`` is the value of ``Host``, ``target`` the path with its query, as they are sent."""
    return "\n".join(("mdstream-key-1", timestamp, nonce, method, host, target)).encode()


def secret_of(text: object) -> bytes:
    """The secret of an HMAC. Raises ValueError."""
    secret = from_base64(text)
    if len(secret) < LEAST_SECRET:
        raise ValueError(f"secret must be base64 of at least {LEAST_SECRET} bytes")
    return secret


def from_base64(text: object) -> bytes:
    """The bytes of base64 or base64url, with or without padding; empty for anything else."""
    if not isinstance(text, str):
        return b""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
