"""Keys and tokens for tests: right ones by PyJWT, wrong ones put together by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

NOW_S = 1_800_000_000
SECRET = bytes(range(48))
EVERYTHING = {"grants": [{"channels": ["*"], "instruments": ["*"]}]}
CLAIMS: dict[str, Any] = {"sub": "alice", "aud": "mdstream", "exp": NOW_S + 600, "md": EVERYTHING}


@cache
def private_key(algorithm: str) -> Any:
    """A key for the whole run: RSA ones take a while."""
    if algorithm == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm == "ES256"
        else ed25519.Ed25519PrivateKey.generate()
    )


def public_pem(algorithm: str) -> bytes:
    return public_pem_of(private_key(algorithm))


def public_pem_of(private: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    found: bytes = private.public_key().public_bytes(serialization.Encoding.PEM, form)
    return found


def private_pem(algorithm: str) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    found: bytes = private_key(algorithm).private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    )
    return found


def jwk(algorithm: str, kid: str | None = None, **more: Any) -> dict[str, Any]:
    """A public JWK."""
    found = jwt.get_algorithm_by_name(algorithm).to_jwk(private_key(algorithm).public_key(), as_dict=True)
    return {**found, **({} if kid is None else {"kid": kid}), **more}


def sign(claims: dict[str, Any], algorithm: str = "EdDSA", key: Any = None, **header: Any) -> bytes:
    """A token by PyJWT."""
    key = key or (SECRET if algorithm == "HS256" else private_key(algorithm))
    return jwt.encode(claims, key, algorithm=algorithm, headers=header or None).encode()


def part(value: Any) -> bytes:
    """One part of a token: JSON or bytes in base64url."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def by_hand(header: Any, claims: Any, secret: bytes | None = None, signature: bytes = b"x" * 64) -> bytes:
    """A token of any header and claims, with an HMAC if there is a secret."""
    signed = part(header) + b"." + part(claims)
    if secret is not None:
        signature = hmac.digest(secret, signed, hashlib.sha256)
    return signed + b"." + part(signature)


def by_hand_ed25519(header: Any, claims: Any) -> bytes:
    """A token of any header and claims with a valid Ed25519 signature."""
    signed = part(header) + b"." + part(claims)
    return signed + b"." + part(private_key("EdDSA").sign(signed))
