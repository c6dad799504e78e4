"""Tokens as an attacker makes them, by hand: nothing here goes through a library that could refuse to make a bad one."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mdstream.auth.keys import thumbprint

AUDIENCE = "mdstream"
KEY_ID = "2026-11"
EVERYTHING = {"grants": [{"channels": ["*"], "instruments": ["*"]}]}
ISSUERS = {
    "HS256": "https://hs.example",
    "RS256": "https://rs.example",
    "ES256": "https://es.example",
    "EdDSA": "https://ed.example",
}


@dataclass(frozen=True)
class Keys:
    """One key of each algorithm, which the gateway knows, and one of an attacker's own."""

    secret: bytes
    rsa: rsa.RSAPrivateKey
    ec: ec.EllipticCurvePrivateKey
    ed: ed25519.Ed25519PrivateKey

    @property
    def secret_text(self) -> bytes:
        """As it stands in the file."""
        return self.secret.hex().encode()

    def public(self, algorithm: str) -> Any:
        return {"RS256": self.rsa, "ES256": self.ec, "EdDSA": self.ed}[algorithm].public_key()

    def pem(self, algorithm: str) -> bytes:
        return self.public(algorithm).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, algorithm: str, data: bytes) -> bytes:
        if algorithm == "HS256":
            return hmac.digest(self.secret_text, data, "sha256")
        if algorithm == "RS256":
            return self.rsa.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "ES256":
            r, s = decode_dss_signature(self.ec.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32) + s.to_bytes(32)
        return self.ed.sign(data)


def keys(whose: str = "gateway") -> Keys:
    """Those of the gateway's issuers, or of anybody else."""
    return _keys(whose)


@cache
def _keys(whose: str) -> Keys:
    return Keys(
        secrets.token_bytes(48),
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
    )


def configure(folder: Path) -> list[str]:
    """Writes keys and configuration; returns the arguments of a gateway that knows the issuers."""
    lines = []
    for algorithm, issuer in ISSUERS.items():
        path = folder / f"{algorithm}.key"
        kind = {"HS256": "secret_file", "EdDSA": "jwks_file"}.get(algorithm, "key_file")
        path.write_bytes(_public(algorithm))
        lines += [
            "[[auth.issuers]]",
            f'issuer = "{issuer}"',
            f'audience = "{AUDIENCE}"',
            f'{kind} = "{path}"',
        ]
    (folder / "gateway.toml").write_text("\n".join(lines) + "\n")
    return ["--config", str(folder / "gateway.toml")]


def _public(algorithm: str) -> bytes:
    """What the gateway's operator is given: a secret, a key, or, for EdDSA, a JWK set, whose key has a name."""
    if algorithm == "HS256":
        return keys().secret_text
    return json.dumps({"keys": [jwk_of(keys())]}).encode() if algorithm == "EdDSA" else keys().pem(algorithm)


def key_id(algorithm: str) -> str | None:
    """How the gateway calls the key of an issuer: a secret has no name, and a key from a file that of its thumbprint."""
    if algorithm == "HS256":
        return None
    return KEY_ID if algorithm == "EdDSA" else thumbprint(keys().public(algorithm), algorithm)


def jwk_of(of: Keys) -> dict[str, str]:
    public = of.ed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID, "x": b64(public)}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encoded(value: Any) -> str:
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def decoded(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def claims(algorithm: str = "EdDSA", **changes: Any) -> dict[str, Any]:
    """Good ones; a claim given as None is left out."""
    now = int(time.time())
    whole: dict[str, Any] = {
        "iss": ISSUERS[algorithm],
        "aud": AUDIENCE,
        "sub": "alice",
        "iat": now,
        "exp": now + 600,
        "md": EVERYTHING,
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def token(
    algorithm: str = "EdDSA",
    *,
    header: Any = None,
    body: Any = None,
    signed_by: str = "gateway",
    signature: bytes | None = None,
    **changes: Any,
) -> str:
    """A token that is right but for what is given. ``changes`` are claims, ``header`` and ``body`` replace the whole part."""
    first = {"alg": algorithm, "typ": "JWT"} if header is None else header
    start = f"{encoded(first)}.{encoded(claims(algorithm, **changes) if body is None else body)}"
    if signature is None:
        signature = keys(signed_by).sign(algorithm, start.encode())
    return f"{start}.{b64(signature)}"


def unsigned(alg: str = "none", **changes: Any) -> str:
    return f"{encoded({'alg': alg, 'typ': 'JWT'})}.{encoded(claims(**changes))}."


def confused(algorithm: str, secret: bytes) -> str:
    """A token of an asymmetric issuer, signed by HMAC with what everybody knows: its public key."""
    start = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims(algorithm))}"
    return f"{start}.{b64(hmac.digest(secret, start.encode(), 'sha256'))}"


def embedded_key() -> str:
    """Signed by an attacker, with his public key in the header."""
    return token(header={"alg": "EdDSA", "jwk": jwk_of(keys("attacker"))}, signed_by="attacker")
